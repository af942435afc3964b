"""Signals, as torch.signal: sorus.signal.windows."""

from . import windows as windows
