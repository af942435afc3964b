"""fully_shard: parameters, gradients and optimizer state in rows at all ranks (ZeRO stage 3, PyTorch's FSDP2).

    for block in model.blocks:
        fully_shard(block)
    fully_shard(model)
    optimizer = torch.optim.AdamW(model.parameters())     # of this rank's rows

Before a module computes, its parameters are gathered; after it their memory is given back, and gathered again for its
backward pass. Gradients are averaged, and each rank keeps those of its rows.

    fully_shard(block, mp_policy=MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32))

gathers rows in bfloat16, half of the bytes, and computes with them; the rows themselves and what the optimizer reads stay
as they are.
"""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

from .. import _core
from .._core import Tensor, _comm
from ..nn.module import Module
from ..nn.parameter import Parameter
from .groups import _group
from .world import ProcessGroup

_set = object.__setattr__
_running = threading.local()  # .depth: modules whose forward runs in this thread


class ShardedParameter(Parameter):
    """This rank's rows of a parameter. `whole` is the shape of all, `start` where these begin."""

    whole: tuple[int, ...]
    start: tuple[int, ...]
    group: ProcessGroup

    def to_local(self) -> Tensor:
        """The rows, as a plain tensor."""
        return Tensor(self)

    def full_tensor(self) -> Tensor:
        """The rows of all ranks, without a history. All ranks call it."""
        rows = [_core.tensor([0]) for _ in range(self.group.size())]
        self.group.all_gather(rows, _core.tensor([self.shape[0]]), False)
        parts = [_core.operators["empty"]([int(n), *self.whole[1:]], dtype=self.dtype) for n in rows]
        self.group.all_gather(parts, self.detach(), False)
        return _core.operators["cat"](parts)


@dataclasses.dataclass(frozen=True)
class MixedPrecisionPolicy:
    """The types in which a sharded module computes (param_dtype), sums gradients over the ranks (reduce_dtype; that of the gradient
    if None) and returns results (output_dtype). None: as it is. cast_forward_inputs: floating inputs become param_dtype."""

    param_dtype: Any = None
    reduce_dtype: Any = None
    output_dtype: Any = None
    cast_forward_inputs: bool = True


class _IsSharded(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Module) and "_fsdp" in instance.__dict__


class FSDPModule(metaclass=_IsSharded):
    """What fully_shard has made of a module is counted as an instance; it has `unshard()` and `reshard()`."""


class _Managed:
    """One parameter, in all the places of the module tree where it stands."""

    def __init__(self, parameter: Tensor, group: ProcessGroup, policy: MixedPrecisionPolicy) -> None:
        self.policy = policy
        computes = policy.param_dtype if policy.param_dtype and parameter.is_floating_point() else parameter.dtype
        self.unsharded = _comm.Unsharded(group, parameter.shape, computes)
        first, rows = self.unsharded.first_row, self.unsharded.rows
        with _core_no_grad():
            local = parameter.detach()[first : first + rows].clone()
        self.shard = ShardedParameter(local, requires_grad=parameter.requires_grad)
        self.shard.whole = tuple(parameter.shape)
        self.shard.start = (first,) + (0,) * (parameter.dim() - 1)
        self.shard.group = group
        self.full: Tensor = self.unsharded.full
        self.full.requires_grad_(parameter.requires_grad)
        self.places: list[tuple[Module, str]] = []

    def gather(self) -> None:
        if not self.unsharded.is_gathered:
            self.unsharded.gather(self.shard.detach().to(self.full.dtype))

    def reduce(self, grad: Tensor) -> Tensor:
        """This rank's rows of the average, in the type of its rows."""
        return self.unsharded.reduce(grad.to(self.policy.reduce_dtype or grad.dtype)).to(self.shard.dtype)

    def put(self, tensor: Tensor) -> None:
        for owner, name in self.places:
            Module._set_tensor(owner, name, tensor)
            owner.__dict__.pop(name, None)
            _set(owner, name, tensor)


def _core_no_grad():
    from ..autograd import no_grad

    return no_grad()


class _State:
    """What fully_shard knows of one module."""

    def __init__(
        self,
        module: Module,
        group: ProcessGroup,
        reshard_after_forward: bool | None,
        policy: MixedPrecisionPolicy,
    ) -> None:
        self.group, self.reshard_after_forward, self.policy = group, reshard_after_forward, policy
        self.managed: list[_Managed] = []
        known: dict[int, _Managed] = {}
        for owner in module.modules():
            for name, is_parameter, _ in list(Module._tensors(owner)):
                tensor = getattr(owner, name)
                if not is_parameter or tensor is None or isinstance(tensor, ShardedParameter):
                    continue
                if hash(tensor) not in known:
                    known[hash(tensor)] = _Managed(tensor, group, policy)
                    self.managed.append(known[hash(tensor)])
                known[hash(tensor)].places.append((owner, name))
        for managed in self.managed:
            managed.put(managed.shard)
            if managed.full.requires_grad:
                managed.full.register_post_accumulate_grad_hook(self._on_gradient(managed))
        self.waiting = 0
        self.in_backward = False

    def unshard(self) -> None:
        for managed in self.managed:
            managed.gather()
            managed.put(managed.full)

    def reshard(self, free: bool = True) -> None:
        for managed in self.managed:
            managed.put(managed.shard)
            if free:
                managed.unsharded.release()

    def before_forward(self, module: Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        _running.depth = getattr(_running, "depth", 0) + 1
        self.unshard()
        if self.policy.param_dtype is None or not self.policy.cast_forward_inputs:
            return None
        return _floats_as(args, self.policy.param_dtype), _floats_as(kwargs, self.policy.param_dtype)

    def after_forward(self, module: Module, args: tuple, output: Any) -> Any:
        _running.depth -= 1
        wanted = self.reshard_after_forward  # the outermost module's backward pass comes at once
        self.reshard(free=_running.depth > 0 if wanted is None else bool(wanted))
        for tensor in _tensors_in(output):
            if tensor.requires_grad and _core.is_grad_enabled():
                tensor.register_hook(self._before_backward)
        return None if self.policy.output_dtype is None else _floats_as(output, self.policy.output_dtype)

    def _before_backward(self, grad: Tensor) -> None:
        if not self.in_backward:
            self.in_backward = True
            self.waiting = sum(managed.full.requires_grad for managed in self.managed)
            _comm.at_end_of_backward(self._after_backward)
        for managed in self.managed:
            managed.gather()

    def _on_gradient(self, managed: _Managed):
        def reduce(full: Tensor) -> None:
            own = managed.reduce(full.grad)
            full.grad = None
            if managed.shard.grad is None:
                managed.shard.grad = own
            else:
                with _core_no_grad():
                    managed.shard.grad.add_(own)
            self.waiting -= 1
            if self.waiting == 0:
                self.reshard()

        return reduce

    def _after_backward(self) -> None:
        self.in_backward = False
        self.reshard()


def _floats_as(value: Any, dtype: Any) -> Any:
    """The same with tensors of floating point as that type."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, dict):
        return {k: _floats_as(v, dtype) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        parts = [_floats_as(v, dtype) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def _tensors_in(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [t for item in value for t in _tensors_in(item)]
    return []


def fully_shard(
    module: Module,
    *,
    mesh=None,
    reshard_after_forward: bool | None = None,
    shard_placement_fn=None,
    mp_policy: MixedPrecisionPolicy | None = None,
    offload_policy=None,
    ignored_params=None,
) -> Module:
    """Shards the parameters of `module` (without those of modules that were sharded before) in place; returns it.

    mesh: a DeviceMesh of one dimension or a process group (the world). reshard_after_forward: give the memory of the whole
    parameters back after forward; None: of all but the outermost module. mp_policy: the types it computes in.
    ValueError for a parameter without dimensions; TypeError for a policy that is none; NotImplementedError for the rest.
    """
    if offload_policy is not None or shard_placement_fn is not None or ignored_params:
        raise NotImplementedError(
            "fully_shard: offload_policy, shard_placement_fn and ignored_params are not supported"
        )
    if mp_policy is not None and not isinstance(mp_policy, MixedPrecisionPolicy):
        raise TypeError(f"fully_shard: mp_policy must be a MixedPrecisionPolicy, found {mp_policy!r}")
    group = _group(mesh.get_group() if hasattr(mesh, "get_group") else mesh)
    if group is None:
        raise ValueError("fully_shard: this rank is not in the group")
    if "_fsdp" in module.__dict__:
        raise ValueError("fully_shard: the module is sharded already")
    state = _State(module, group, reshard_after_forward, mp_policy or MixedPrecisionPolicy())
    _set(module, "_fsdp", state)
    _set(module, "unshard", state.unshard)
    _set(module, "reshard", state.reshard)
    module.register_forward_pre_hook(state.before_forward, prepend=True, with_kwargs=True)
    module.register_forward_hook(state.after_forward)
    return module
