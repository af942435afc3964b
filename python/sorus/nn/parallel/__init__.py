"""Modules that train on several ranks."""

from .distributed import DistributedDataParallel
