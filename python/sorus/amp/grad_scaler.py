"""Dynamic loss scaling: the loss is multiplied by a large number before backward, so that gradients in float16 do not
vanish, and the gradients are divided by it before the step. A step whose gradients overflowed is left out and the scale
shrinks; after `growth_interval` good steps it grows (Micikevicius et al., Mixed Precision Training, 2018).

    scaler = sorus.amp.GradScaler("cpu")
    with sorus.autocast("cpu", dtype=sorus.float16):
        loss = model(x)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)                          # only where gradients are looked at, for example clipped
    scaler.step(optimizer)
    scaler.update()

Everything is done with tensors, so the same lines may stand inside of a compiled step; there a step that is left out
keeps the old parameters and moments by selecting them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import _core
from .._core import Tensor, operators

_READY, _UNSCALED, _STEPPED = "ready", "unscaled", "stepped"


class GradScaler:
    """Scales the loss. Arguments, methods and state are those of torch.amp.GradScaler.

    Raises ValueError for a growth factor that does not grow or a backoff factor that does not shrink, RuntimeError where
    `unscale_` or `step` is called twice between updates, or `update` before any gradients were unscaled.
    """

    def __init__(
        self,
        device: str = "cpu",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        if isinstance(device, (int, float)):  # torch.cuda.amp.GradScaler(init_scale, ...)
            device, init_scale = "cpu", device
        self._device, self._enabled = device, enabled
        if not enabled:
            return
        if growth_factor <= 1.0:
            raise ValueError(f"GradScaler: the growth factor must be larger than 1, found {growth_factor}")
        if not 0.0 < backoff_factor < 1.0:
            raise ValueError(f"GradScaler: the backoff factor must lie between 0 and 1, found {backoff_factor}")
        if growth_interval < 1:
            raise ValueError(f"GradScaler: the growth interval must be at least 1, found {growth_interval}")
        self._growth_factor, self._backoff_factor = float(growth_factor), float(backoff_factor)
        self._growth_interval, self._init_scale = int(growth_interval), float(init_scale)
        self._scale = _core.tensor(float(init_scale), dtype=_core.float32)
        self._growth_tracker = _core.tensor(0, dtype=_core.int32)
        self._stage: dict[int, str] = {}
        self._found_inf: dict[int, Tensor] = {}

    def scale(self, outputs: Any) -> Any:
        """A tensor times the scale, or tuples and lists of them."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs * self._scale
        if isinstance(outputs, (tuple, list)):
            scaled = [self.scale(o) for o in outputs]
            return type(outputs)(*scaled) if hasattr(outputs, "_fields") else type(outputs)(scaled)
        if isinstance(outputs, Iterable):
            return map(self.scale, outputs)
        raise ValueError(
            f"GradScaler.scale: expected a tensor or an iterable of tensors, got {type(outputs).__name__}"
        )

    def unscale_(self, optimizer: Any) -> None:
        """Divides the gradients of the optimizer's parameters by the scale, in place, and looks for inf and NaN."""
        if not self._enabled:
            return
        stage = self._stage.get(id(optimizer), _READY)
        if stage == _UNSCALED:
            raise RuntimeError(
                "GradScaler: unscale_() has already been called on this optimizer since the last update()"
            )
        if stage == _STEPPED:
            raise RuntimeError("GradScaler: unscale_() is being called after step()")
        found = None
        before = _core._set_grad_enabled(False)
        try:
            inverse = self._scale.double().reciprocal().float()
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    grad = parameter.grad
                    if grad is None:
                        continue
                    if grad.dtype is _core.float16:
                        raise ValueError(
                            "GradScaler: attempting to unscale float16 gradients; parameters must be float32"
                        )
                    bad = operators["isfinite"](grad).logical_not().any()
                    grad.mul_(inverse.to(grad.dtype))
                    found = bad if found is None else found.logical_or(bad)
        finally:
            _core._set_grad_enabled(before)
        if found is None:
            raise RuntimeError(
                "GradScaler: no parameter of the optimizer has a gradient; call backward() on the scaled loss"
            )
        self._found_inf[id(optimizer)] = found
        self._stage[id(optimizer)] = _UNSCALED

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """optimizer.step() if all gradients are finite; unscales them first if that was not done."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs or args:
            raise RuntimeError("GradScaler: steps with a closure are not supported while scaling is enabled")
        if self._stage.get(id(optimizer)) == _STEPPED:
            raise RuntimeError("GradScaler: step() has already been called since the last update()")
        if self._stage.get(id(optimizer)) != _UNSCALED:
            self.unscale_(optimizer)
        found, result = self._found_inf[id(optimizer)], None
        if _core._is_recording():
            optimizer._step_unless(found)
        elif not found.item():
            result = optimizer.step(**kwargs)
        self._stage[id(optimizer)] = _STEPPED
        return result

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Shrinks the scale if a gradient overflowed, grows it after `growth_interval` updates without; or sets it."""
        if not self._enabled:
            return
        if new_scale is not None:
            value = new_scale if isinstance(new_scale, Tensor) else _core.tensor(float(new_scale))
            if value.numel() != 1:
                raise ValueError(
                    f"GradScaler.update: expected one number, got a tensor of shape {tuple(value.shape)}"
                )
            self._scale.copy_(value.detach().reshape(()))
        else:
            if not self._found_inf:
                raise RuntimeError("GradScaler: no gradients were unscaled since the last update()")
            found = None
            for flag in self._found_inf.values():
                found = flag if found is None else found.logical_or(flag)
            scale, tracker = operators["amp_update_scale"](
                self._scale,
                self._growth_tracker,
                found,
                self._growth_factor,
                self._backoff_factor,
                self._growth_interval,
            )
            self._scale.copy_(scale)
            self._growth_tracker.copy_(tracker)
        self._stage, self._found_inf = {}, {}

    def get_scale(self) -> float:
        return self._scale.item() if self._enabled else 1.0

    def get_growth_factor(self) -> float:
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        self._growth_interval = new_interval

    def _get_growth_tracker(self) -> int:
        return self._growth_tracker.item() if self._enabled else 0

    def is_enabled(self) -> bool:
        return self._enabled

    def state_dict(self) -> dict[str, Any]:
        """Numbers only; empty if scaling is disabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self.get_scale(),
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._get_growth_tracker(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raises RuntimeError for the state of a disabled scaler."""
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError("GradScaler: the state is empty, as that of a disabled scaler is")
        self._scale.fill_(state_dict["scale"])
        self._growth_factor, self._backoff_factor = state_dict["growth_factor"], state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        self._growth_tracker.fill_(state_dict["_growth_tracker"])
