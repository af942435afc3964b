"""Averages of a model's parameters over training: plain ones, or exponential ones.

averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.999))
for batch in loader:
    ...
    optimizer.step()
    averaged.update_parameters(model)
update_bn(loader, averaged)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any, Literal

from .. import _core, nn
from .._core import Tensor
from .lr_scheduler import LRScheduler, _one_for_each
from .optimizer import Optimizer


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable:
    """For AveragedModel: averages become decay * average + (1 - decay) * parameter. ValueError outside [0, 1]."""
    _check_decay(decay)

    def update(averages: list[Tensor], parameters: list[Tensor], _: Any) -> None:
        for average, parameter in zip(averages, parameters, strict=True):
            average.copy_(_ema(average, parameter, decay))

    return update


def get_ema_avg_fn(decay: float = 0.999) -> Callable[[Tensor, Tensor, Any], Tensor]:
    """The same for one parameter, as `avg_fn`."""
    _check_decay(decay)
    return lambda average, parameter, _: _ema(average, parameter, decay)


def get_swa_multi_avg_fn() -> Callable:
    """For AveragedModel: the mean of all parameters so far."""

    def update(averages: list[Tensor], parameters: list[Tensor], averaged: Any) -> None:
        for average, parameter in zip(averages, parameters, strict=True):
            average.copy_(_mean(average, parameter, averaged))

    return update


def get_swa_avg_fn() -> Callable[[Tensor, Tensor, Any], Tensor]:
    """The same for one parameter, as `avg_fn`."""
    return _mean


def _check_decay(decay: float) -> None:
    if not 0 <= decay <= 1:
        raise ValueError(f"the decay of an average must lie in [0, 1], found {decay}")


def _ema(average: Tensor, parameter: Tensor, decay: float) -> Tensor:
    return average * decay + parameter * (1 - decay)


def _mean(average: Tensor, parameter: Tensor, averaged: Any) -> Tensor:
    return average + (parameter - average) / (float(averaged) + 1)


class AveragedModel(nn.Module):
    """A copy of `model`, as `module`, whose parameters are averages (Izmailov et al. 2018; Polyak, Juditsky 1992).

    `avg_fn(average, parameter, number averaged)` returns the new average, `multi_avg_fn` writes lists of them; without
    either it is the mean. Buffers are averaged with `use_buffers`, and copied otherwise. ValueError if both are given.
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: nn.Module,
        device: Any = None,
        avg_fn: Callable[[Tensor, Tensor, Any], Tensor] | None = None,
        multi_avg_fn: Callable[[list[Tensor], list[Tensor], Any], None] | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise ValueError("AveragedModel: avg_fn and multi_avg_fn exclude each other")
        self.module = deepcopy(model)
        if device is not None:
            self.module.to(device)
        self.register_buffer("n_averaged", _core.tensor(0))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def update_parameters(self, model: nn.Module) -> None:
        """Takes the parameters that `model` has now into the averages; the first time they are copied."""

        def of(m: nn.Module) -> list[Tensor]:
            buffers = list(m.buffers()) if self.use_buffers else []
            return [t.detach() for t in [*m.parameters(), *buffers]]

        before = _core._set_grad_enabled(False)
        try:
            averages, now = of(self.module), of(model)
            if int(self.n_averaged) == 0:
                for average, parameter in zip(averages, now, strict=True):
                    average.copy_(parameter)
            elif self.avg_fn is not None:
                for average, parameter in zip(averages, now, strict=True):
                    average.copy_(self.avg_fn(average, parameter, self.n_averaged))
            else:
                (self.multi_avg_fn or get_swa_multi_avg_fn())(averages, now, self.n_averaged)
            if not self.use_buffers:
                for average, parameter in zip(self.module.buffers(), model.buffers(), strict=True):
                    average.detach().copy_(parameter.detach())
            self.n_averaged.add_(1)
        finally:
            _core._set_grad_enabled(before)


def update_bn(loader: Iterable, model: nn.Module, device: Any = None) -> None:
    """Measures the statistics of the model's BatchNorm layers anew, as means over all batches of `loader`.

    A batch is what the model takes, or a list or tuple that begins with it.
    """
    norms = [m for m in model.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
    if not norms:
        return
    momenta = [m.momentum for m in norms]
    training = model.training
    model.train()
    for m in norms:
        m.reset_running_stats()
        m.momentum = None
    before = _core._set_grad_enabled(False)
    try:
        for batch in loader:
            x = batch[0] if isinstance(batch, (list, tuple)) else batch
            model(x if device is None else x.to(device))
    finally:
        _core._set_grad_enabled(before)
        for m, momentum in zip(norms, momenta, strict=True):
            m.momentum = momentum
        model.train(training)


class SWALR(LRScheduler):
    """Anneals each group's rate to `swa_lr` within `anneal_epochs` steps, and stays there.

    `anneal_strategy` is "cos" or "linear". ValueError for another one, or a negative number of steps.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: Any,
        anneal_epochs: int = 10,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        last_epoch: int = -1,
    ) -> None:
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"SWALR: anneal_strategy must be 'cos' or 'linear', found {anneal_strategy!r}")
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"SWALR: anneal_epochs must be an integer from 0 on, found {anneal_epochs!r}")
        rates = _one_for_each("SWALR", "swa_lr", swa_lr, optimizer.param_groups)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["swa_lr"] = rate
        self.anneal_epochs, self.anneal_strategy = anneal_epochs, anneal_strategy
        super().__init__(optimizer, last_epoch)

    def _share(self, step: int) -> float:
        t = max(0.0, min(1.0, step / max(1, self.anneal_epochs)))
        return (1 - math.cos(math.pi * t)) / 2 if self.anneal_strategy == "cos" else t

    def get_lr(self) -> list[float]:
        # The rate that the last step came from is solved for, so that other schedules may have set it.
        step = self.last_epoch if self.anneal_epochs > 0 else max(1, self.last_epoch)
        before, now = self._share(max(0, step - 1)), self._share(step)
        rates = []
        for group in self.optimizer.param_groups:
            end = group["swa_lr"]
            start = end if before == 1 else (group["lr"] - before * end) / (1 - before)
            rates.append(end * now + start * (1 - now))
        return rates
