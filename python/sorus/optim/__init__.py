"""Optimizers. They are C++ classes (sorus::optim); parameter groups may differ in weight_decay."""

from .._core._optim import SGD, AdamW, Optimizer, clip_grad_norm_, warmup_cosine
