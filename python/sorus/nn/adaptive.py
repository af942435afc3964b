"""A softmax over many classes, few of which are frequent."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any

from .. import _core
from .._core import Tensor, _nn
from .containers import ModuleList, Sequential
from .module import Module

__all__ = ["AdaptiveLogSoftmaxWithLoss"]

ASMoutput = collections.namedtuple("ASMoutput", ["output", "loss"])


class AdaptiveLogSoftmaxWithLoss(Module):
    """Classes sorted by how frequent they are, in clusters that begin at `cutoffs` (Grave et al. 2017).

    The first cluster's classes and the other clusters are one softmax (`head`); each cluster has a softmax of its own
    (`tail`), whose input is narrower by `div_value` from one to the next. Rows go through the clusters they need only.
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        cutoffs = list(cutoffs)
        if not cutoffs:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        if cutoffs != sorted(set(cutoffs)) or min(cutoffs) <= 0 or max(cutoffs) > n_classes - 1 or any(
                int(c) != c for c in cutoffs):  # fmt: skip
            raise ValueError("cutoffs should be a sequence of unique, positive integers sorted in an increasing order, "
                             f"where each value is between 1 and n_classes-1; found {cutoffs}")  # fmt: skip
        self.in_features, self.n_classes = in_features, n_classes
        self.cutoffs = [*cutoffs, n_classes]
        self.div_value, self.head_bias = div_value, head_bias
        self.shortlist_size, self.n_clusters = cutoffs[0], len(cutoffs)
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = _nn.Linear(in_features, self.head_size, bias=head_bias, dtype=dtype)
        self.tail = ModuleList()
        for i, (low, high) in enumerate(zip(self.cutoffs, self.cutoffs[1:], strict=False)):
            width = int(in_features // div_value ** (i + 1))
            if width == 0:
                raise ValueError(f"AdaptiveLogSoftmaxWithLoss: cluster {i + 1} would have an input of 0 numbers: "
                                 f"{in_features} features are divided by {div_value} for each cluster")  # fmt: skip
            parts = [_nn.Linear(in_features, width, bias=False, dtype=dtype)]
            self.tail.append(Sequential(*parts, _nn.Linear(width, high - low, bias=False, dtype=dtype)))

    def reset_parameters(self) -> None:
        self.head.reset_parameters()
        for parts in self.tail:
            for layer in parts:
                layer.reset_parameters()

    def forward(self, input: Tensor, target: Tensor) -> Any:
        """(the logarithm of each target's probability, the mean loss)"""
        if input.dim() - 1 != target.dim() or input.dim() > 2:
            raise RuntimeError(f"AdaptiveLogSoftmaxWithLoss: expected rows of {self.in_features} features and a class for "
                               f"each, got {tuple(input.shape)} and {tuple(target.shape)}")  # fmt: skip
        one = input.dim() == 1
        x, y = (input.unsqueeze(0), target.unsqueeze(0)) if one else (input, target)
        if x.shape[0] != y.shape[0]:
            raise RuntimeError("AdaptiveLogSoftmaxWithLoss: input and target should have the same size in the batch "
                               f"dimension, got {x.shape[0]} and {y.shape[0]}")  # fmt: skip
        recording = _core._is_recording()
        if not recording and y.numel() and (int(y.min()) < 0 or int(y.max()) >= self.n_classes):
            raise RuntimeError(f"Target values should be in [0, {self.n_classes - 1}], but values in range "
                               f"[{int(y.min())}, {int(y.max())}] were found. ")  # fmt: skip
        head = self.head(x).log_softmax(1)
        place = y  # in the head
        inside: list[tuple[Tensor | None, Tensor]] = []
        for i, parts in enumerate(self.tail):
            low, high = self.cutoffs[i], self.cutoffs[i + 1]
            mine = (y >= low) & (y < high)
            place = place.masked_fill(mine, self.shortlist_size + i)
            rows = None if recording else mine.nonzero().squeeze(1)  # a graph has all rows go through all clusters
            if rows is not None and rows.numel() == 0:
                continue
            own, wanted = (x, y) if rows is None else (x.index_select(0, rows), y.index_select(0, rows))
            log = parts(own).log_softmax(1)
            log = log.gather(1, (wanted - low).clamp(0, high - low - 1).unsqueeze(1)).squeeze(1)
            inside.append((rows, log * mine.to(log.dtype) if rows is None else log))
        output = head.gather(1, place.unsqueeze(1)).squeeze(1)
        for rows, log in inside:
            output = output + log if rows is None else output.index_add(0, rows, log)
        loss = -output.mean()
        return ASMoutput(output.squeeze(0) if one else output, loss)

    def _all(self, x: Tensor, head: Tensor) -> Tensor:
        columns = [head[:, : self.shortlist_size]]
        for i, parts in enumerate(self.tail):
            at = self.shortlist_size + i
            columns.append(parts(x).log_softmax(1) + head[:, at : at + 1])
        return _core.operators["cat"](columns, 1)

    def log_prob(self, input: Tensor) -> Tensor:
        """The logarithms of all probabilities, [batch, n_classes]."""
        return self._all(input, self.head(input).log_softmax(1))

    def predict(self, input: Tensor) -> Tensor:
        """The likeliest class of each row; clusters are looked into only where they are needed."""
        head = self.head(input)
        best = head.argmax(1)
        outside = (best >= self.shortlist_size).nonzero().squeeze(1)
        if outside.numel() == 0:
            return best
        return best.index_copy(0, outside, self.log_prob(input.index_select(0, outside)).argmax(1))
