"""Layers, optimizers and a tiny GPT from Python."""

import math

import pytest

import sorus
from sorus import nn, optim
from sorus.models import GPT


def tiny():
    return GPT(vocab_size=11, block_size=8, n_layer=2, n_head=2, n_embd=16)


def batch(step):
    x = sorus.tensor([[(i + step) % 11 for i in range(8)]] * 2)
    y = sorus.tensor([[(i + step + 1) % 11 for i in range(8)]] * 2)
    return x, y


def train(model, optimizer, steps):
    losses = []
    for i in steps:
        loss = model.loss(*batch(i))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_gpt_learns():
    sorus.manual_seed(0)  # how far sixty steps get depends on the first weights
    model = tiny()
    losses = train(model, optim.AdamW(model.parameters(), lr=1e-2), range(60))
    assert abs(losses[0] - math.log(11)) < 0.2
    assert losses[-1] < 0.5 * losses[0]


def test_subclass_registers_what_is_assigned():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(3, 4)
            self.scale = nn.Parameter(sorus.ones([4]))
            self.b = nn.Sequential(nn.ReLU(), nn.Linear(4, 2, bias=False))

        def forward(self, x):
            return self.b(self.a(x) * self.scale)

    net = Net()
    names = [name for name, _ in net.named_parameters()]
    assert names == ["scale", "a.weight", "a.bias", "b.1.weight"]
    net(sorus.ones([5, 3])).sum().backward()
    assert net.scale.grad is not None
    assert net.a.weight.grad.shape == (4, 3)
    with pytest.raises(RuntimeError, match='Missing key\\(s\\) in state_dict: "scale"'):
        net.load_state_dict({k: v for k, v in net.state_dict().items() if k != "scale"})
    assert not net.eval().a.training
