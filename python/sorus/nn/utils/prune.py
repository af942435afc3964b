"""Parts of weights held at zero (torch.nn.utils.prune).

    prune.l1_unstructured(layer, "weight", amount=0.3)     # the 30 % of smallest size
    layer.weight_orig, layer.weight_mask                   # what is trained, and what of it counts
    prune.remove(layer, "weight")                          # for good

A parameter may be pruned again; the part that is left is then what `amount` speaks of.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ... import _core
from ..._core import Tensor
from ..._core import operators as _op
from ..._functions import randperm
from .. import _computed
from ..module import Module
from ..parameter import Parameter


class _Masked:
    def __init__(self, name: str, method: BasePruningMethod) -> None:
        self.name, self.method = name, method

    def __call__(self, module: Module) -> Tensor:
        return self.method.apply_mask(module)


class BasePruningMethod:
    """A rule that says what of a tensor stays. Subclasses define `compute_mask(t, default_mask)`, and in `PRUNING_TYPE`
    whether `amount` counts single elements ("unstructured"), slices ("structured") or all there is ("global")."""

    PRUNING_TYPE = "unstructured"
    _tensor_name = ""

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__}: compute_mask is not defined")

    def apply_mask(self, module: Module) -> Tensor:
        """The pruned tensor."""
        return getattr(module, self._tensor_name + "_orig") * getattr(module, self._tensor_name + "_mask")

    def prune(self, t: Tensor, default_mask: Tensor | None = None, importance_scores: Tensor | None = None) -> Tensor:
        """The tensor with zeros; modules are not involved."""
        scores = t if importance_scores is None else importance_scores
        mask = _op["ones_like"](t) if default_mask is None else default_mask
        return t * self.compute_mask(scores, mask)

    @classmethod
    def apply(
        cls, module: Module, name: str, *args: Any, importance_scores: Tensor | None = None, **kwargs: Any
    ) -> BasePruningMethod:
        """Prunes the parameter `name` of the module."""
        method = cls(*args, **kwargs)
        method._tensor_name = name
        rule = _computed.rule_of(module, name)
        old = rule.method if isinstance(rule, _Masked) else None
        tensor = getattr(module, name)
        scores = tensor if importance_scores is None else importance_scores
        if scores.shape != tensor.shape:
            raise ValueError(f"prune: scores of shape {tuple(scores.shape)} for a parameter of {tuple(tensor.shape)}")
        before = _core._set_grad_enabled(False)
        try:
            if old is None:
                mask = method.compute_mask(scores, _op["ones_like"](tensor))
            else:
                container = old if isinstance(old, PruningContainer) else PruningContainer(old)
                container.add_pruning_method(method)
                mask, method = container.compute_mask(scores, getattr(module, name + "_mask")), container
        finally:
            _core._set_grad_enabled(before)
        if old is None:
            _computed.compute(module, name, _Masked(name, method))
            module.register_parameter(name + "_orig", Parameter(tensor.detach(), tensor.requires_grad))
        else:
            rule.method = method
        module.register_buffer(name + "_mask", mask.to(tensor.dtype))
        return method

    def remove(self, module: Module) -> None:
        """The pruned tensor is the parameter from now on."""
        name = self._tensor_name
        if not isinstance(_computed.rule_of(module, name), _Masked):
            raise ValueError(f"Module {type(module).__name__} is not pruned: its parameter {name!r} has no mask")
        original = getattr(module, name + "_orig")
        original.data = self.apply_mask(module).detach()
        _computed.stop(module, name)
        delattr(module, name + "_orig")
        delattr(module, name + "_mask")
        module.register_parameter(name, original)


class PruningContainer(BasePruningMethod):
    """Methods one after the other; each sees only what the ones before it have left."""

    def __init__(self, *methods: BasePruningMethod) -> None:
        self._methods: tuple[BasePruningMethod, ...] = ()
        for m in methods:
            self.add_pruning_method(m)

    def add_pruning_method(self, method: BasePruningMethod) -> None:
        if self._methods and method._tensor_name != self._tensor_name:
            raise ValueError(
                f"prune: a method for {method._tensor_name!r} cannot join those for {self._tensor_name!r}"
            )
        self._tensor_name = method._tensor_name
        self._methods += (method,)

    def __len__(self) -> int:
        return len(self._methods)

    def __iter__(self) -> Any:
        return iter(self._methods)

    def __getitem__(self, i: int) -> BasePruningMethod:
        return self._methods[i]

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        method = self._methods[-1]
        mask = default_mask.to(t.dtype)
        if method.PRUNING_TYPE == "structured":
            # Whole slices that are left; those that are gone already do not count.
            dim = method.dim % t.dim()  # type: ignore[attr-defined]
            others = [d for d in range(t.dim()) if d != dim]
            kept = (mask.sum(others) != 0 if others else mask != 0).nonzero().flatten()
            part = method.compute_mask(t.index_select(dim, kept), mask.index_select(dim, kept))
            return mask.index_copy(dim, kept, part.to(mask.dtype))
        kept = mask.flatten().nonzero().flatten() if method.PRUNING_TYPE == "unstructured" else None
        if kept is None:
            return method.compute_mask(t, mask)
        part = method.compute_mask(t.flatten()[kept], mask.flatten()[kept])
        return mask.flatten().index_copy(0, kept, part.to(mask.dtype)).reshape(mask.shape)


def _count(amount: float, total: int) -> int:
    """How many `amount` means: a number of them, or a share."""
    if isinstance(amount, bool) or not isinstance(amount, (int, float)):
        raise TypeError(f"prune: amount must be a number, not {type(amount).__name__}")
    if amount < 0 or (isinstance(amount, float) and amount > 1):
        raise ValueError(f"prune: amount must be a count or a share in [0, 1], not {amount}")
    if isinstance(amount, int):
        if amount > total:
            raise ValueError(f"prune: amount={amount} is more than the {total} parameters there are")
        return amount
    return round(amount * total)


class Identity(BasePruningMethod):
    """Prunes nothing, but makes the mask."""

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        return default_mask


class RandomUnstructured(BasePruningMethod):
    """Elements drawn at random."""

    def __init__(self, amount: float) -> None:
        self.amount = amount

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        n = _count(self.amount, t.numel())
        mask = default_mask.clone().flatten()
        mask[randperm(t.numel())[:n]] = 0
        return mask.reshape(default_mask.shape)


class L1Unstructured(BasePruningMethod):
    """Elements of smallest size."""

    def __init__(self, amount: float) -> None:
        self.amount = amount

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        n = _count(self.amount, t.numel())
        mask = default_mask.clone().flatten()
        if n:
            mask[t.abs().flatten().topk(n, largest=False).indices] = 0
        return mask.reshape(default_mask.shape)


class _Structured(BasePruningMethod):
    PRUNING_TYPE = "structured"

    def __init__(self, amount: float, dim: int) -> None:
        self.amount, self.dim = amount, dim

    def _gone(self, t: Tensor, n: int) -> Tensor:
        raise NotImplementedError

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        if t.dim() < 2:
            raise ValueError(f"prune: slices need at least two dimensions, found {tuple(t.shape)}")
        n = _count(self.amount, t.shape[self.dim])
        return default_mask.index_fill(self.dim, self._gone(t, n), 0) if n else default_mask


class RandomStructured(_Structured):
    """Slices along `dim` drawn at random."""

    def __init__(self, amount: float, dim: int = -1) -> None:
        super().__init__(amount, dim)

    def _gone(self, t: Tensor, n: int) -> Tensor:
        return randperm(t.shape[self.dim])[:n]


class LnStructured(_Structured):
    """Slices along `dim` of smallest norm of order `n`."""

    def __init__(self, amount: float, n: Any, dim: int = -1) -> None:
        super().__init__(amount, dim)
        self.n = n

    def _gone(self, t: Tensor, n: int) -> Tensor:
        rows = t.movedim(self.dim, 0).flatten(1)
        return _op["norm"](rows, self.n, [1]).topk(n, largest=False).indices


class CustomFromMask(BasePruningMethod):
    """What a given mask says."""

    PRUNING_TYPE = "global"

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        return default_mask * self.mask.to(default_mask.dtype)


def identity(module: Module, name: str) -> Module:
    """Makes the mask and prunes nothing."""
    Identity.apply(module, name)
    return module


def random_unstructured(module: Module, name: str, amount: float) -> Module:
    """Prunes elements drawn at random: `amount` of them, or that share."""
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(module: Module, name: str, amount: float, importance_scores: Tensor | None = None) -> Module:
    """Prunes the elements of smallest size (or score)."""
    L1Unstructured.apply(module, name, amount, importance_scores=importance_scores)
    return module


def random_structured(module: Module, name: str, amount: float, dim: int) -> Module:
    """Prunes slices along `dim` drawn at random."""
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(
    module: Module, name: str, amount: float, n: Any, dim: int, importance_scores: Tensor | None = None
) -> Module:
    """Prunes the slices along `dim` of smallest norm of order `n`."""
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module: Module, name: str, mask: Tensor) -> Module:
    """Prunes where the mask is 0."""
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(
    parameters: Iterable[tuple[Module, str]],
    pruning_method: type[BasePruningMethod],
    importance_scores: dict[tuple[Module, str], Tensor] | None = None,
    **kwargs: Any,
) -> None:
    """Prunes elements of several parameters together, as if they were one vector."""
    places = list(parameters)
    scores = importance_scores or {}
    parts = [scores.get(place, getattr(*place)).detach() for place in places]
    masks = [getattr(m, n + "_mask", None) for m, n in places]
    old = [_op["ones_like"](p) if k is None else k for p, k in zip(parts, masks, strict=True)]
    container, method = PruningContainer(), pruning_method(**kwargs)
    if method.PRUNING_TYPE != "unstructured":
        raise TypeError(f"global_unstructured: {pruning_method.__name__} does not prune single elements")
    container.add_pruning_method(method)
    flat = container.compute_mask(_op["cat"]([p.flatten() for p in parts]), _op["cat"]([m.flatten() for m in old]))
    at = 0
    for (module, name), part in zip(places, parts, strict=True):
        custom_from_mask(module, name, flat[at : at + part.numel()].reshape(part.shape))
        at += part.numel()


def is_pruned(module: Module) -> bool:
    """Whether a parameter of this module or one below is pruned."""
    return any(
        isinstance(rule, _Masked) for m in module.modules() for rule in m.__dict__.get("_computed", {}).values()
    )


def remove(module: Module, name: str) -> Module:
    """The pruned parameter is an ordinary one from now on, with its zeros. ValueError if it is not pruned."""
    rule = _computed.rule_of(module, name)
    if not isinstance(rule, _Masked):
        raise ValueError(f"Parameter {name!r} of module {type(module).__name__} has to be pruned before pruning can be "
                         "removed")  # fmt: skip
    rule.method.remove(module)
    return module
