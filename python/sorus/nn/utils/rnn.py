"""Sequences of different lengths in one tensor."""

from __future__ import annotations

from collections.abc import Iterable

from ... import _core
from ..._core import Tensor


def pad_sequence(
    sequences: Iterable[Tensor], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Tensors [length, ..] as one of [longest, count, ..], or [count, longest, ..] with batch_first."""
    if padding_side not in ("left", "right"):
        raise ValueError(f"pad_sequence: padding_side must be 'left' or 'right', not {padding_side!r}")
    sequences = list(sequences)
    if not sequences:
        raise RuntimeError("pad_sequence: expected at least one tensor")
    longest = max(s.shape[0] for s in sequences)
    pad = _core.operators["pad"]
    rows = []
    for s in sequences:
        missing = longest - s.shape[0]
        sides = [missing, 0] if padding_side == "left" else [0, missing]
        rows.append(pad(s, [0, 0] * (s.dim() - 1) + sides, value=padding_value) if missing else s)
    return _core.operators["stack"](rows, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False) -> list[Tensor]:
    """The reverse of pad_sequence."""
    if not batch_first:
        padded_sequences = padded_sequences.transpose(0, 1)
    return [row[:n] for row, n in zip(padded_sequences, lengths.tolist(), strict=True)]
