"""Families of layers, for isinstance: `isinstance(layer, nn.modules.batchnorm._BatchNorm)`, as programs written for PyTorch ask."""

from __future__ import annotations

import abc
import collections.abc
from collections.abc import Callable
from itertools import repeat
from typing import Any

from .._core import _nn
from .layers import InstanceNorm1d, InstanceNorm2d
from .sync_norm import SyncBatchNorm
from .volumes import InstanceNorm3d


class _Family(abc.ABC):  # noqa: B024
    """A class of which others are counted as subclasses."""


class _ConvNd(_Family):
    """Convolutions of one to three dimensions, transposed ones too."""


class _ConvTransposeNd(_ConvNd):
    """Transposed convolutions."""


class _NormBase(_Family):
    """Normalisation over a batch or over each sample's places."""


class _BatchNorm(_NormBase):
    """BatchNorm1d, 2d, 3d, SyncBatchNorm."""


class _InstanceNorm(_NormBase):
    """InstanceNorm1d, 2d, 3d."""


for _family, _layers in (
    (_ConvNd, (_nn.Conv1d, _nn.Conv2d, _nn.Conv3d)),
    (_ConvTransposeNd, (_nn.ConvTranspose1d, _nn.ConvTranspose2d, _nn.ConvTranspose3d)),
    (_BatchNorm, (_nn.BatchNorm1d, _nn.BatchNorm2d, _nn.BatchNorm3d, SyncBatchNorm)),
    (_InstanceNorm, (InstanceNorm1d, InstanceNorm2d, InstanceNorm3d)),
):
    for _layer in _layers:
        _family.register(_layer)


def _ntuple(n: int) -> Callable[[Any], tuple]:
    """A function that makes a tuple of n of one value, and leaves iterables as they are."""
    return lambda x: tuple(x) if isinstance(x, collections.abc.Iterable) else tuple(repeat(x, n))


_single, _pair, _triple, _quadruple = (_ntuple(n) for n in (1, 2, 3, 4))
