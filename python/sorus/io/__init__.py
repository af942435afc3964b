"""Files of tensors. Loaded tensors show the mapped file: nothing is read before it is touched, and writing to such a
tensor stays in memory. Files are written atomically. What is wrong with a file is an OSError that names it."""

from .._core._io import load_idx, load_npy, save_npy
from ..serialization import CheckpointFolder
from . import safetensors
