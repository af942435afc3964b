"""One operator on four elements at a time, from Python: what a call costs.

FRAMEWORK=torch runs it under PyTorch, FRAMEWORK=sorus (the default) under Sorus.
"""

import os

if os.environ.get("FRAMEWORK", "sorus") == "torch":
    import torch
else:
    import sorus as torch


class Program:
    """step(i) calls the operator; with backward=True it also computes its gradients."""

    def __init__(self, operator="add", backward=False):
        a, b = torch.tensor([1.0, -2.0, 3.0, -4.0]), torch.tensor([0.5, 1.5, 2.5, 3.5])
        self.call = {
            "add": lambda: a + b,
            "mul": lambda: a * b,
            "relu": lambda: torch.relu(a),
            "sum": lambda: a.sum(),
        }[operator]
        self.backward = backward
        if backward:
            a.requires_grad_(True)
            self.flow = torch.ones_like(self.call()).detach()

    def step(self, i):
        return self.call().sum().detach()

    def run(self, steps):
        """The loop that is timed: nothing but the call."""
        call = self.call
        if not self.backward:
            for _ in range(steps):
                call()
            return
        flow = self.flow
        for _ in range(steps):
            call().backward(flow)

    def sync(self):
        pass
