"""Sequences of different lengths in one tensor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

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


class PackedSequence(NamedTuple("_Packed", [("data", Tensor), ("batch_sizes", Tensor),
                                            ("sorted_indices", Any), ("unsorted_indices", Any)])):  # fmt: skip
    """Sequences of different lengths without padding: `data` has the rows of all of them at the first step, the longest
    sequence first, then those at the second, ..; `batch_sizes` says how many there are at each step. The recurrent layers
    take one and give one. `sorted_indices` says which sequences these are, `unsorted_indices` how they come back."""

    def __new__(
        cls,
        data: Tensor,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        if batch_sizes is None:
            raise ValueError("PackedSequence: batch_sizes is needed")
        if unsorted_indices is None and sorted_indices is not None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def _with(self, data: Tensor) -> PackedSequence:
        packed = type(self)(data, self.batch_sizes, self.sorted_indices, self.unsorted_indices)
        packed.__dict__.update(self.__dict__)
        return packed

    def _sizes(self) -> list[int]:
        """The batch sizes as numbers; while a graph is recorded they must be known from before."""
        return self.__dict__.get("_counts") or self.batch_sizes.tolist()

    def _places(self) -> list[int]:
        """Where each of the sequences, in the order in which they were packed, stands in `data`."""
        if self.unsorted_indices is None:
            return list(range(self._sizes()[0]))
        return self.__dict__.get("_back") or self.unsorted_indices.tolist()

    def _through(self, layer: Any, hx: Any) -> tuple[PackedSequence, Any]:
        """Output and last state of a recurrent layer, for sequences in the order in which they were packed."""
        if hx is not None and self.sorted_indices is not None:
            hx = _reordered(hx, self.sorted_indices)
        data, state = layer._packed(self.data, self._sizes(), hx)
        if self.unsorted_indices is not None:
            state = _reordered(state, self.unsorted_indices)
        return self._with(data), state

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """With the data in another type."""
        return self._with(self.data.to(*args, **kwargs))

    def cpu(self) -> PackedSequence:
        return self

    def double(self) -> PackedSequence:
        return self._with(self.data.double())

    def float(self) -> PackedSequence:
        return self._with(self.data.float())

    @property
    def is_cuda(self) -> bool:
        return False


def _reordered(state: Any, order: Tensor) -> Any:
    if isinstance(state, Tensor):
        return state.index_select(1, order)
    return tuple(s.index_select(1, order) for s in state)


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """What brings the elements back that `permutation` has moved."""
    return None if permutation is None else permutation.argsort()


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """The sequences in [longest, count, ..] (or [count, longest, ..] with batch_first), whose padding is left out.

    With `enforce_sorted` the lengths must not grow. ValueError for lengths that do not fit the input.
    """
    lengths = [int(n) for n in (lengths.tolist() if isinstance(lengths, Tensor) else lengths)]
    x = input.transpose(0, 1) if batch_first else input
    if len(lengths) != x.shape[1]:
        raise ValueError(f"pack_padded_sequence: {len(lengths)} lengths for a batch of {x.shape[1]}")
    if not lengths or min(lengths) < 1 or max(lengths) > x.shape[0]:
        raise ValueError(f"pack_padded_sequence: the lengths {lengths} must be between 1 and {x.shape[0]}")
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    sorted_indices = None
    if not enforce_sorted:
        sorted_indices = _core.tensor(order, dtype=_core.int64)
        x = x.index_select(1, sorted_indices)
    elif order != list(range(len(lengths))):
        raise RuntimeError(f"pack_padded_sequence: the lengths {lengths} must not grow; use enforce_sorted=False")
    counts = [sum(n > t for n in lengths) for t in range(max(lengths))]
    rows = [x[t, :n] for t, n in enumerate(counts)]
    packed = PackedSequence(_core.operators["cat"](rows), _core.tensor(counts, dtype=_core.int64), sorted_indices)
    packed.__dict__.update(_counts=counts, _back=sorted(range(len(order)), key=order.__getitem__))
    return packed


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The sequences as [longest, count, ..] (or [count, longest, ..] with batch_first) with their lengths."""
    counts = sequence._sizes()
    if total_length is not None and total_length < len(counts):
        raise ValueError(f"pad_packed_sequence: a total_length of {total_length} is less than {len(counts)}")
    lengths = [sum(n > i for n in counts) for i in range(counts[0])]
    # Each place in the padded tensor reads its row, or the row of padding behind all others.
    first = [sum(counts[:t]) for t in range(len(counts))]
    steps, rows = total_length or len(counts), sequence.data.shape[0]
    places = [[first[t] + i if t < n else rows for i, n in enumerate(lengths)] for t in range(steps)]
    back = sequence._places()
    places = [[row[i] for i in back] for row in places]
    if batch_first:
        places = [list(row) for row in zip(*places, strict=True)]
    tail = list(sequence.data.shape[1:])
    padding = _core.operators["full"]([1, *tail], padding_value, dtype=sequence.data.dtype)
    index = _core.tensor(places, dtype=_core.int64)
    y = _core.operators["cat"]([sequence.data, padding]).index_select(0, index.reshape(-1))
    return y.reshape([*index.shape, *tail]), _core.tensor([lengths[i] for i in back], dtype=_core.int64)


def pack_sequence(sequences: Iterable[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Tensors [length, ..] packed."""
    sequences = list(sequences)
    lengths = [s.shape[0] for s in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The reverse of pack_sequence."""
    return unpad_sequence(*pad_packed_sequence(packed_sequences))
