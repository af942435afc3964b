"""The older names of sorus.amp."""

from __future__ import annotations

from ..amp import GradScaler, custom_bwd, custom_fwd
from ..autograd import autocast as _autocast

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd"]


class autocast(_autocast):
    """autocast("cpu") with the arguments of torch.cuda.amp.autocast: there is no GPU to cast for."""

    def __init__(self, enabled: bool = True, dtype=None, cache_enabled: bool = True) -> None:
        super().__init__("cpu", dtype, enabled, cache_enabled)

    def _arguments(self) -> tuple:
        return self.enabled, self.dtype
