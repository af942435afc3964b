"""Losses: layers of two tensors or more; what they compute is in sorus.nn.functional."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._core import Tensor
from . import functional as F
from .module import Module


class _Loss(Module):
    """Keeps the options in the order of `options`; tensors among them are buffers."""

    function: Any
    options: tuple[str, ...] = ()

    def _keep(self, **values: Any) -> None:
        Module.__init__(self)
        for name, value in values.items():
            if name in ("weight", "pos_weight"):
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)
        self.options = tuple(values)

    def forward(self, *inputs: Tensor) -> Tensor:
        return type(self).function(*inputs, **{name: getattr(self, name) for name in self.options})


def _legacy(reduction: str, size_average: bool | None, reduce: bool | None) -> str:
    if reduce is False:
        return "none"
    if size_average is False:
        return "sum"
    return reduction


class MSELoss(_Loss):
    """(input - target)^2."""

    function: Callable[..., Any] = staticmethod(F.mse_loss)

    def __init__(self, size_average=None, reduce=None, reduction: str = "mean") -> None:
        self._keep(reduction=_legacy(reduction, size_average, reduce))


class L1Loss(_Loss):
    """|input - target|."""

    function: Callable[..., Any] = staticmethod(F.l1_loss)

    def __init__(self, size_average=None, reduce=None, reduction: str = "mean") -> None:
        self._keep(reduction=_legacy(reduction, size_average, reduce))


class SmoothL1Loss(_Loss):
    """Quadratic below `beta`, linear above."""

    function: Callable[..., Any] = staticmethod(F.smooth_l1_loss)

    def __init__(self, size_average=None, reduce=None, reduction: str = "mean", beta: float = 1.0) -> None:
        self._keep(reduction=_legacy(reduction, size_average, reduce), beta=beta)


class HuberLoss(_Loss):
    """Quadratic below `delta`, linear above (Huber 1964)."""

    function: Callable[..., Any] = staticmethod(F.huber_loss)

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        self._keep(reduction=reduction, delta=delta)


class CrossEntropyLoss(_Loss):
    """Of logits [batch, classes, ...] and classes [batch, ...] or probabilities of the logits' shape."""

    function: Callable[..., Any] = staticmethod(F.cross_entropy)

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average=None,
        ignore_index: int = -100,
        reduce=None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        self._keep(
            weight=weight,
            ignore_index=ignore_index,
            reduction=_legacy(reduction, size_average, reduce),
            label_smoothing=label_smoothing,
        )


class NLLLoss(_Loss):
    """Of logarithms of probabilities."""

    function: Callable[..., Any] = staticmethod(F.nll_loss)

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average=None,
        ignore_index: int = -100,
        reduce=None,
        reduction: str = "mean",
    ) -> None:
        self._keep(weight=weight, ignore_index=ignore_index, reduction=_legacy(reduction, size_average, reduce))


class BCELoss(_Loss):
    """Binary cross entropy of probabilities."""

    function: Callable[..., Any] = staticmethod(F.binary_cross_entropy)

    def __init__(self, weight: Tensor | None = None, size_average=None, reduce=None, reduction: str = "mean") -> None:
        self._keep(weight=weight, reduction=_legacy(reduction, size_average, reduce))


class BCEWithLogitsLoss(_Loss):
    """Binary cross entropy of logits."""

    function: Callable[..., Any] = staticmethod(F.binary_cross_entropy_with_logits)

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average=None,
        reduce=None,
        reduction: str = "mean",
        pos_weight: Tensor | None = None,
    ) -> None:
        self._keep(weight=weight, reduction=_legacy(reduction, size_average, reduce), pos_weight=pos_weight)


class KLDivLoss(_Loss):
    """Kullback-Leibler divergence; the input holds logarithms."""

    function: Callable[..., Any] = staticmethod(F.kl_div)

    def __init__(self, size_average=None, reduce=None, reduction: str = "mean", log_target: bool = False) -> None:
        self._keep(reduction=_legacy(reduction, size_average, reduce), log_target=log_target)


class PoissonNLLLoss(_Loss):
    function: Callable[..., Any] = staticmethod(F.poisson_nll_loss)

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        size_average=None,
        eps: float = 1e-8,
        reduce=None,
        reduction: str = "mean",
    ) -> None:
        self._keep(log_input=log_input, full=full, eps=eps, reduction=_legacy(reduction, size_average, reduce))


class GaussianNLLLoss(_Loss):
    """Of means, targets and variances."""

    function: Callable[..., Any] = staticmethod(F.gaussian_nll_loss)

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        self._keep(full=full, eps=eps, reduction=reduction)


class SoftMarginLoss(_Loss):
    function: Callable[..., Any] = staticmethod(F.soft_margin_loss)

    def __init__(self, size_average=None, reduce=None, reduction: str = "mean") -> None:
        self._keep(reduction=_legacy(reduction, size_average, reduce))


class HingeEmbeddingLoss(_Loss):
    function: Callable[..., Any] = staticmethod(F.hinge_embedding_loss)

    def __init__(self, margin: float = 1.0, size_average=None, reduce=None, reduction: str = "mean") -> None:
        self._keep(margin=margin, reduction=_legacy(reduction, size_average, reduce))


class MarginRankingLoss(_Loss):
    function: Callable[..., Any] = staticmethod(F.margin_ranking_loss)

    def __init__(self, margin: float = 0.0, size_average=None, reduce=None, reduction: str = "mean") -> None:
        self._keep(margin=margin, reduction=_legacy(reduction, size_average, reduce))


class CosineEmbeddingLoss(_Loss):
    function: Callable[..., Any] = staticmethod(F.cosine_embedding_loss)

    def __init__(self, margin: float = 0.0, size_average=None, reduce=None, reduction: str = "mean") -> None:
        self._keep(margin=margin, reduction=_legacy(reduction, size_average, reduce))


class TripletMarginLoss(_Loss):
    function: Callable[..., Any] = staticmethod(F.triplet_margin_loss)

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        size_average=None,
        reduce=None,
        reduction: str = "mean",
    ) -> None:
        self._keep(margin=margin, p=p, eps=eps, swap=swap, reduction=_legacy(reduction, size_average, reduce))


class CosineSimilarity(Module):
    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim, self.eps = dim, eps

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.cosine_similarity(x1, x2, self.dim, self.eps)


class PairwiseDistance(Module):
    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm, self.eps, self.keepdim = p, eps, keepdim

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)


class MultiMarginLoss(_Loss):
    """Mean over classes of max(0, margin - x[target] + x[i])^p."""

    function: Callable[..., Any] = staticmethod(F.multi_margin_loss)

    def __init__(
        self,
        p: int = 1,
        margin: float = 1.0,
        weight: Tensor | None = None,
        size_average=None,
        reduce=None,
        reduction: str = "mean",
    ) -> None:
        self._keep(p=p, margin=margin, weight=weight, reduction=_legacy(reduction, size_average, reduce))


class MultiLabelSoftMarginLoss(_Loss):
    """Mean over classes of the binary cross entropy of sigmoid(input)."""

    function: Callable[..., Any] = staticmethod(F.multilabel_soft_margin_loss)

    def __init__(self, weight: Tensor | None = None, size_average=None, reduce=None, reduction: str = "mean") -> None:
        self._keep(weight=weight, reduction=_legacy(reduction, size_average, reduce))


class TripletMarginWithDistanceLoss(_Loss):
    """max(0, d(anchor, positive) - d(anchor, negative) + margin) for any distance d."""

    function: Callable[..., Any] = staticmethod(F.triplet_margin_with_distance_loss)

    def __init__(
        self, *, distance_function: Any = None, margin: float = 1.0, swap: bool = False, reduction: str = "mean"
    ) -> None:
        self._keep(distance_function=distance_function, margin=margin, swap=swap, reduction=reduction)


class CTCLoss(_Loss):
    """Connectionist temporal classification of log_probs [T, N, C], targets, and the lengths of both."""

    function: Callable[..., Any] = staticmethod(F.ctc_loss)

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False) -> None:
        self._keep(blank=blank, reduction=reduction, zero_infinity=zero_infinity)


class MultiLabelMarginLoss(_Loss):
    """Margins between the scores of labels (up to the first -1) and those of all other classes."""

    function: Callable[..., Any] = staticmethod(F.multilabel_margin_loss)

    def __init__(self, size_average=None, reduce=None, reduction: str = "mean") -> None:
        self._keep(reduction=_legacy(reduction, size_average, reduce))
