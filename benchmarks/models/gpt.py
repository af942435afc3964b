"""GPT-2 (Radford et al. 2019): one training step after another with AdamW on fresh batches of text.

A plain script with PyTorch's names; FRAMEWORK=torch runs it under PyTorch, FRAMEWORK=sorus (the default) under Sorus:

    FRAMEWORK=torch .peers/bin/python benchmarks/models/gpt.py nano bf16 compiled
"""

import os
import sys
from contextlib import nullcontext

if os.environ.get("FRAMEWORK", "sorus") == "torch":
    import torch
    import torch.nn as nn
    import torch.nn.functional as F
else:
    import sorus.nn.functional as F

    import sorus as torch
    import sorus.nn as nn

from gpt_setup import PRESETS, Config, Text, adamw, initial_weights


class Attention(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.heads = c.heads
        self.c_attn = nn.Linear(c.width, 3 * c.width)
        self.c_proj = nn.Linear(c.width, c.width)

    def forward(self, x):
        batch, time, width = x.shape
        q, k, v = self.c_attn(x).split(width, dim=2)
        q, k, v = (t.view(batch, time, self.heads, width // self.heads).transpose(1, 2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).contiguous().view(batch, time, width))


class MLP(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.c_fc = nn.Linear(c.width, 4 * c.width)
        self.c_proj = nn.Linear(4 * c.width, c.width)

    def forward(self, x):
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.ln_1 = nn.LayerNorm(c.width)
        self.attn = Attention(c)
        self.ln_2 = nn.LayerNorm(c.width)
        self.mlp = MLP(c)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.wte = nn.Embedding(c.vocabulary, c.width)
        self.wpe = nn.Embedding(c.context, c.width)
        self.h = nn.ModuleList([Block(c) for _ in range(c.layers)])
        self.ln_f = nn.LayerNorm(c.width)

    def loss(self, ids, targets):
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
        for block in self.h:
            x = block(x)
        logits = F.linear(self.ln_f(x), self.wte.weight)  # the head is the token embedding
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))

    def forward(self, ids, targets):
        return self.loss(ids, targets)


class Program:
    """The model, its optimizer and its data. step(i) trains on batch i and returns the loss as a tensor."""

    def __init__(self, preset="nano", dtype="fp32", mode="eager", module="script", seed=0, matmul="highest"):
        torch.set_float32_matmul_precision(matmul)
        c = self.config = PRESETS[preset]
        self.first = 1_000_003 * int(seed)  # other seeds see other batches
        self.text = Text(c.vocabulary)
        if module == "library":  # sorus.models.GPT instead of the classes above
            self.model = torch.models.GPT(
                vocab_size=c.vocabulary, block_size=c.context, n_layer=c.layers, n_head=c.heads, n_embd=c.width
            )
        else:
            self.model = GPT(c)
        parameters = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, value in initial_weights(c, int(seed)):
                parameters.pop(name).copy_(torch.from_numpy(value))
        assert not parameters, f"not initialised: {sorted(parameters)}"
        self.optimizer = torch.optim.AdamW(self.model.parameters(), **adamw, fused=True)
        precision = (lambda: torch.autocast("cpu", dtype=torch.bfloat16)) if dtype == "bf16" else nullcontext
        model, optimizer = self.model, self.optimizer
        loss_of = model.loss

        def train_step(ids, targets):
            with precision():
                loss = loss_of(ids, targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)  # gradients need to live no longer
            return loss.detach()

        def evaluate(ids, targets):
            with torch.no_grad(), precision():
                return loss_of(ids, targets)

        self.train_step, self.evaluate = train_step, evaluate
        if mode == "compiled" and torch.__name__ == "torch":
            loss_of = torch.compile(loss_of)  # PyTorch compiles the model; its optimizer is one fused kernel
        elif mode == "compiled":
            self.train_step = torch.compile(train_step)

    def batch(self, i):
        ids, targets = self.text.batch(self.first + i, self.config.batch, self.config.context)
        return torch.from_numpy(ids), torch.from_numpy(targets)

    def step(self, i):
        return self.train_step(*self.batch(i))

    def sync(self):
        pass

    def validation_loss(self, batches=8):
        part = (self.text.batch(i, self.config.batch, self.config.context, validation=True) for i in range(batches))
        return sum(self.evaluate(torch.from_numpy(x), torch.from_numpy(y)).item() for x, y in part) / batches


if __name__ == "__main__":
    program = Program(*sys.argv[1:])
    for i in range(20):
        print(f"{torch.__name__} step {i} loss {program.step(i).item():.5f}")
