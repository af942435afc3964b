"""States of models and optimizers by the names of parameters, so that they mean the same under any placement."""

from __future__ import annotations

from typing import Any

from ..._core import Tensor
from ...nn.module import Module
from .._shards import is_shard, shard


def _bare(name: str) -> str:
    """DistributedDataParallel and compile put a name of theirs in front."""
    return ".".join(part for part in name.split(".") if part not in ("module", "_orig_mod"))


def get_model_state_dict(model: Module, *, submodules=None, options=None) -> dict[str, Tensor]:
    """Parameters (shards if they are sharded) and persistent buffers by name; they share memory with the model."""
    return {_bare(name): tensor for name, tensor in model.state_dict(keep_vars=True).items()}


def _optimizers(optimizers: Any) -> list[Any]:
    return list(optimizers) if isinstance(optimizers, (list, tuple)) else [optimizers]


def _with_state(optimizer: Any) -> dict[str, Any]:
    """The state of an optimizer, which gets one by a step that changes nothing if it never stepped."""
    own = optimizer.state_dict()
    if own["state"]:
        return own
    from ... import zeros_like

    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    grads, rates = [p.grad for p in parameters], [group["lr"] for group in optimizer.param_groups]
    for p in parameters:
        p.grad = zeros_like(p.detach())
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    optimizer.step()
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    for p, grad in zip(parameters, grads, strict=True):
        p.grad = grad
    return optimizer.state_dict()


def get_optimizer_state_dict(model: Module, optimizers: Any, *, submodules=None, options=None) -> dict[str, Any]:
    """{"state": {name: {...}}, "param_groups": [...]}, with names of parameters where optimizers have numbers.

    An optimizer that has not stepped has no state; `load` needs one, so it gets one by a step that changes nothing.
    """
    names = {hash(p): _bare(name) for name, p in model.named_parameters()}
    state: dict[str, Any] = {}
    groups = []
    for optimizer in _optimizers(optimizers):
        own = _with_state(optimizer)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for number, values in own["state"].items():
            parameter = parameters[int(number)]
            state[names[hash(parameter)]] = {
                key: shard(value, parameter)
                if isinstance(value, Tensor) and is_shard(parameter) and value.shape == parameter.shape
                else value
                for key, value in values.items()
            }
        for group in own["param_groups"]:
            groups.append({**group, "params": [names[hash(parameters[int(n)])] for n in group["params"]]})
    return {"state": state, "param_groups": groups}


def get_state_dict(model: Module, optimizers: Any, *, submodules=None, options=None) -> tuple[dict, dict]:
    return get_model_state_dict(model), get_optimizer_state_dict(model, optimizers)


def set_model_state_dict(model: Module, model_state_dict: dict[str, Tensor], *, options=None):
    """Copies into the model what is not its own memory already."""
    from ...autograd import no_grad

    own = get_model_state_dict(model)
    missing, unexpected = sorted(own.keys() - model_state_dict.keys()), sorted(model_state_dict.keys() - own.keys())
    if missing or unexpected:
        raise RuntimeError(f"set_model_state_dict: missing {missing[:5]}, unexpected {unexpected[:5]}")
    with no_grad():
        for name, tensor in own.items():
            tensor.detach().copy_(model_state_dict[name].detach())


def set_optimizer_state_dict(
    model: Module, optimizers: Any, optim_state_dict: dict[str, Any], *, options=None
) -> None:
    """The reverse of get_optimizer_state_dict."""
    names = {hash(p): _bare(name) for name, p in model.named_parameters()}
    groups = list(optim_state_dict["param_groups"])
    for optimizer in _optimizers(optimizers):
        numbers: dict[str, int] = {}
        for group in optimizer.param_groups:
            for p in group["params"]:
                numbers[names[hash(p)]] = len(numbers)
        own, groups = groups[: len(optimizer.param_groups)], groups[len(optimizer.param_groups) :]
        optimizer.load_state_dict({
            "state": {numbers[name]: {k: Tensor(v.detach()) if isinstance(v, Tensor) else v for k, v in values.items()}
                      for name, values in optim_state_dict["state"].items() if name in numbers},
            "param_groups": [{**g, "params": [numbers[n] for n in g["params"]]} for g in own],
        })  # fmt: skip


def set_state_dict(
    model: Module,
    optimizers: Any,
    *,
    model_state_dict: dict[str, Tensor],
    optim_state_dict: dict[str, Any],
    options=None,
) -> None:
    set_model_state_dict(model, model_state_dict)
    set_optimizer_state_dict(model, optimizers, optim_state_dict)
