"""fully_shard: parameters, gradients and optimizer state in rows at all ranks (ZeRO stage 3, PyTorch's FSDP2).

    for block in model.blocks:
        fully_shard(block)
    fully_shard(model)
    optimizer = torch.optim.AdamW(model.parameters())     # of this rank's rows

Before a module computes, its parameters are gathered; after it their memory is given back, and gathered again for its
backward pass. Gradients are averaged, and each rank keeps those of its rows.
"""

from __future__ import annotations

import threading
from typing import Any

from .. import _core
from .._core import Tensor, _comm
from ..nn.module import Module
from ..nn.parameter import Parameter
from .distributed_c10d import ProcessGroup, _group

_set = object.__setattr__
_running = threading.local()  # .depth: modules whose forward runs in this thread


class ShardedParameter(Parameter):
    """This rank's rows of a parameter. `whole` is the shape of all, `start` where these begin."""

    whole: tuple[int, ...]
    start: tuple[int, ...]
    group: ProcessGroup


class _Managed:
    """One parameter, in all the places of the module tree where it stands."""

    def __init__(self, parameter: Tensor, group: ProcessGroup) -> None:
        self.unsharded = _comm.Unsharded(group, parameter.shape, parameter.dtype)
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

    def __init__(self, module: Module, group: ProcessGroup, reshard_after_forward: bool | None) -> None:
        self.group, self.reshard_after_forward = group, reshard_after_forward
        self.managed: list[_Managed] = []
        known: dict[int, _Managed] = {}
        for owner in module.modules():
            for name, is_parameter, _ in list(Module._tensors(owner)):
                tensor = getattr(owner, name)
                if not is_parameter or tensor is None or isinstance(tensor, ShardedParameter):
                    continue
                if hash(tensor) not in known:
                    known[hash(tensor)] = _Managed(tensor, group)
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
            if not managed.unsharded.is_gathered:
                managed.unsharded.gather(managed.shard.detach())
            managed.put(managed.full)

    def reshard(self, free: bool = True) -> None:
        for managed in self.managed:
            managed.put(managed.shard)
            if free:
                managed.unsharded.release()

    def before_forward(self, module: Module, args: tuple) -> None:
        _running.depth = getattr(_running, "depth", 0) + 1
        self.unshard()

    def after_forward(self, module: Module, args: tuple, output: Any) -> None:
        _running.depth -= 1
        wanted = self.reshard_after_forward  # the outermost module's backward pass comes at once
        self.reshard(free=_running.depth > 0 if wanted is None else bool(wanted))
        for tensor in _tensors_in(output):
            if tensor.requires_grad and _core.is_grad_enabled():
                tensor.register_hook(self._before_backward)

    def _before_backward(self, grad: Tensor) -> None:
        if not self.in_backward:
            self.in_backward = True
            self.waiting = sum(managed.full.requires_grad for managed in self.managed)
            _comm.at_end_of_backward(self._after_backward)
        for managed in self.managed:
            if not managed.unsharded.is_gathered:
                managed.unsharded.gather(managed.shard.detach())

    def _on_gradient(self, managed: _Managed):
        def reduce(full: Tensor) -> None:
            own = managed.unsharded.reduce(full.grad)
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
    mp_policy=None,
    offload_policy=None,
    ignored_params=None,
) -> Module:
    """Shards the parameters of `module` (without those of modules that were sharded before) in place; returns it.

    mesh: a DeviceMesh of one dimension or a process group (the world). reshard_after_forward: give the memory of the whole
    parameters back after forward; None: of all but the outermost module.
    ValueError for a parameter without dimensions; NotImplementedError for the policies (use autocast for bfloat16).
    """
    if mp_policy is not None or offload_policy is not None or shard_placement_fn is not None or ignored_params:
        raise NotImplementedError("fully_shard: mp_policy, offload_policy, shard_placement_fn and ignored_params are not "
                                  "supported; sorus.autocast computes in bfloat16")  # fmt: skip
    group = _group(mesh.get_group() if hasattr(mesh, "get_group") else mesh)
    if group is None:
        raise ValueError("fully_shard: this rank is not in the group")
    if "_fsdp" in module.__dict__:
        raise ValueError("fully_shard: the module is sharded already")
    state = _State(module, group, reshard_after_forward)
    _set(module, "_fsdp", state)
    _set(module, "unshard", state.unshard)
    _set(module, "reshard", state.reshard)
    module.register_forward_pre_hook(state.before_forward, prepend=True)
    module.register_forward_hook(state.after_forward)
    return module
