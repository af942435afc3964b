"""Modules that train on several ranks."""

from .data_parallel import DataParallel
from .distributed import DistributedDataParallel
