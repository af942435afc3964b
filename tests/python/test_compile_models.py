"""Whole training steps of common networks give the numbers of eager when compiled: buffers, dropout and optimizers too."""

import pytest

import sorus as torch
from sorus import nn
from sorus.nn import functional as F


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 5, padding=2)
        self.norm = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 8, 5)
        self.pool = nn.MaxPool2d(2)
        self.drop = nn.Dropout(0.25)
        self.out = nn.Linear(72, 10)

    def forward(self, x):
        x = self.pool(torch.relu(self.norm(self.conv1(x))))
        x = self.pool(torch.relu(self.conv2(x)))
        return self.out(self.drop(x.flatten(1)))

    @staticmethod
    def batch():
        return torch.randn(4, 1, 20, 20), torch.randint(0, 10, (4,))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.lstm = nn.LSTM(8, 12, batch_first=True)
        self.out = nn.Linear(12, 20)

    def forward(self, x):
        hidden, _ = self.lstm(self.embedding(x))
        return self.out(hidden).transpose(1, 2)

    @staticmethod
    def batch():
        return torch.randint(0, 20, (3, 5)), torch.randint(0, 20, (3, 5))


def train(make, optimizer, compiled):
    torch.manual_seed(3)
    model = make()
    opt = optimizer(model.parameters())

    def step(x, y):
        opt.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        return loss.detach()

    f = torch.compile(step) if compiled else step
    losses = [f(*make.batch()).item() for _ in range(4)]
    assert not compiled or len(f.recordings()) == 1  # type: ignore[union-attr]
    return losses, {k: v.double().sum().item() for k, v in model.state_dict().items()}


@pytest.mark.parametrize("make", [LeNet, Recurrent])
@pytest.mark.parametrize(
    "optimizer",
    [lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9), lambda p: torch.optim.AdamW(p, lr=1e-3)],
    ids=["sgd", "adamw"],
)
def test_a_compiled_step_is_the_eager_step(make, optimizer):
    losses, state = train(make, optimizer, False)
    compiled_losses, compiled_state = train(make, optimizer, True)
    assert compiled_losses == pytest.approx(losses, abs=1e-4)
    assert compiled_state == pytest.approx(state, abs=2e-2)
