"""Where PyTorch has a module for what Sorus has in another, imports find it: `sorus.nn.modules.linear` is `sorus.nn`.

Programs import from such places (`from torch.nn.modules.batchnorm import _BatchNorm`), and with the import changed they
should run. A path is one line here; the module that it leads to decides which names there are.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Sequence
from typing import Any

_TARGETS = {
    "nn.modules": (
        "nn", "activation adaptive batchnorm channelshuffle container conv distance dropout flatten fold instancenorm lazy "
        "linear loss module normalization padding pixelshuffle pooling rnn sparse transformer upsampling utils",
    ),
    "nn.utils": ("nn.utils", "clip_grad convert_parameters"),
    "optim": (
        "optim", "adadelta adagrad adam adamax adamw asgd lbfgs nadam radam rmsprop rprop sgd",
    ),
    "distributions": (
        "distributions", "bernoulli beta binomial categorical cauchy dirichlet exponential gamma geometric gumbel "
        "half_normal independent laplace log_normal mixture_same_family multinomial multivariate_normal negative_binomial "
        "normal one_hot_categorical poisson relaxed_bernoulli studentT transformed_distribution uniform",
    ),
    "distributed": ("distributed", "distributed_c10d"),
    "autograd": ("autograd", "function grad_mode gradcheck variable"),
}  # fmt: skip


def _paths() -> dict[str, str]:
    paths = {"nn.modules": "nn"}
    for parent, (target, names) in _TARGETS.items():
        paths |= {f"{parent}.{name}": target for name in names.split()}
    return paths


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Asked last, when no file has the name."""

    def __init__(self, package: str) -> None:
        self.targets = {f"{package}.{path}": f"{package}.{target}" for path, target in _paths().items()}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self.targets:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=fullname.endswith(".modules"))

    def exec_module(self, module: types.ModuleType) -> None:
        target = importlib.import_module(self.targets[module.__name__])

        def find(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
            return getattr(target, name)

        module.__doc__ = f"What PyTorch has here is in {target.__name__}."
        module.__dict__["__getattr__"] = find
        module.__dict__["__all__"] = getattr(target, "__all__", [n for n in vars(target) if not n.startswith("_")])


def install(package: str) -> None:
    sys.meta_path.append(_Finder(package))
