"""An MLP 784-128-10 learns from one picture at a time with plain SGD: what is measured is the overhead of a call.

A plain script with PyTorch's names; FRAMEWORK=torch runs it under PyTorch, FRAMEWORK=sorus (the default) under Sorus.
"""

import os
import sys

if os.environ.get("FRAMEWORK", "sorus") == "torch":
    import torch
    import torch.nn as nn
    import torch.nn.functional as F
else:
    import sorus.nn.functional as F

    import sorus as torch
    import sorus.nn as nn

from mlp_setup import initial_weights, pictures


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(784, 128)
        self.out = nn.Linear(128, 10)

    def forward(self, x):
        return self.out(F.relu(self.hidden(x)))


class Program:
    """The model, its optimizer and its data. step(i) trains on picture i and returns the loss as a tensor."""

    def __init__(self, mode="eager"):
        self.model = MLP()
        parameters = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, value in initial_weights():
                parameters[name].copy_(torch.from_numpy(value))
        x, y = pictures()
        self.data = [(torch.from_numpy(x[i : i + 1]), torch.from_numpy(y[i : i + 1])) for i in range(len(x))]
        model, optimizer = self.model, torch.optim.SGD(self.model.parameters(), lr=0.01)

        def train_step(x, y):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss.detach()

        self.train_step = train_step
        if mode == "compiled" and torch.__name__ == "torch":
            model = torch.compile(model)
        elif mode == "compiled":
            self.train_step = torch.compile(train_step)

    def step(self, i):
        return self.train_step(*self.data[i % len(self.data)])

    def sync(self):
        pass


if __name__ == "__main__":
    program = Program(*sys.argv[1:])
    for i in range(2000):
        loss = program.step(i).item()
        if i % 200 == 0:
            print(f"{torch.__name__} step {i} loss {loss:.5f}")
