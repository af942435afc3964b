"""The lines of eager_bench.cpp for PyTorch: eager_torch.py [start of a name] [--threads N]."""

import sys
import time

import torch
import torch.nn.functional as F

wanted = ""
args = sys.argv[1:]
while args:
    a = args.pop(0)
    if a == "--threads":
        torch.set_num_threads(int(args.pop(0)))
    else:
        wanted = a


def line(name, f):
    if not name.startswith(wanted):
        return
    f()
    start = time.perf_counter()
    f()
    inner = min(max(int(0.02 / max(time.perf_counter() - start, 1e-7)), 1), 100000)
    rounds = []
    c0 = time.process_time()
    for _ in range(9):
        start = time.perf_counter()
        for _ in range(inner):
            f()
        rounds.append((time.perf_counter() - start) / inner * 1e6)
    cpu = (time.process_time() - c0) / (9 * inner) * 1e6
    rounds.sort()
    print(f"{name:44} {rounds[4]:12.3f} us   (best {rounds[0]:.3f}, cpu {cpu:.3f})", flush=True)


def small():
    x, y, g = torch.randn(4), torch.randn(4), torch.ones(4)
    w = torch.randn(4, requires_grad=True)
    line("4: mul", lambda: x * y)
    line("4: add", lambda: x + y)
    line("4: sum", lambda: x.sum())
    line("4: softmax", lambda: torch.softmax(x, -1))
    line("4: mul, recorded", lambda: x * w)

    def back(f, leaves, grad=None):
        f().backward(grad)
        for t in leaves:
            t.grad = None

    line("4: mul, backward", lambda: back(lambda: x * w, [w], g))
    line("4: mul, sum, backward", lambda: back(lambda: (x * w).sum(), [w]))
    a, b = torch.randn(4, 4), torch.randn(4, 4, requires_grad=True)
    line("4x4: matmul", lambda: a @ a)
    line("4x4: linear, backward", lambda: back(lambda: F.linear(a, b), [b], a))


def large(t):
    p = f"{'bf16' if t == torch.bfloat16 else 'f32'} 4096x768: "
    x, y, row = torch.randn(4096, 768).to(t), torch.randn(4096, 768).to(t), torch.randn(768).to(t)
    xg = x.clone().requires_grad_()
    w, b = torch.ones(768, dtype=t, requires_grad=True), torch.zeros(768, dtype=t, requires_grad=True)

    def with_backward(name, f):
        def forward():
            with torch.no_grad():
                f()

        def both():
            f().backward(y)
            for leaf in (xg, w, b):
                leaf.grad = None

        line(p + name, forward)
        line(p + name + ", with backward", both)

    line(p + "add", lambda: x + y)
    line(p + "add a row", lambda: x + row)
    line(p + "gelu", lambda: F.gelu(x))
    line(p + "to f32 or bf16", lambda: x.to(torch.float32 if t == torch.bfloat16 else torch.bfloat16))
    line(p + "transposed copy", lambda: x.t().contiguous())
    line(p + "sum of rows", lambda: x.sum(1))
    line(p + "sum of columns", lambda: x.sum(0))
    line(p + "sum of all", lambda: x.sum())
    line(p + "amax of rows", lambda: x.amax(1))
    with_backward("gelu tanh", lambda: F.gelu(xg, approximate="tanh"))
    with_backward("softmax", lambda: torch.softmax(xg, -1))
    with_backward("log_softmax", lambda: torch.log_softmax(xg, -1))
    with_backward("layer_norm", lambda: F.layer_norm(xg, (768,), w, b))
    with_backward("rms_norm", lambda: F.rms_norm(xg, (768,), w))
    targets = (torch.rand(4096) >= 0.5).long()

    def loss():
        F.cross_entropy(xg, targets).backward()
        xg.grad = None

    line(p + "cross_entropy, with backward", loss)


def mlp():
    first, second = torch.nn.Linear(784, 128), torch.nn.Linear(128, 10)
    sgd = torch.optim.SGD([*first.parameters(), *second.parameters()], lr=0.01)
    x, target = torch.randn(1, 784), torch.zeros(1, dtype=torch.long)

    def model():
        return second(torch.relu(first(x)))

    def forward():
        with torch.no_grad():
            model()

    def step():
        sgd.zero_grad()
        F.cross_entropy(model(), target).backward()
        sgd.step()

    line("mlp 784-128-10, 1 sample: forward", forward)
    line("mlp 784-128-10, 1 sample: loss", lambda: F.cross_entropy(model(), target))
    line("mlp 784-128-10, 1 sample: SGD step", step)


class Block(torch.nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        nn = torch.nn
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc, self.proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = self.c_attn(self.ln_1(x)).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.c_proj(y.transpose(1, 2).reshape(b, t, d))
        return x + self.proj(F.gelu(self.fc(self.ln_2(x)), approximate="tanh"))


class GPT(torch.nn.Module):
    def __init__(self, vocab, block, layers, heads, width):
        super().__init__()
        self.wte, self.wpe = torch.nn.Embedding(vocab, width), torch.nn.Embedding(block, width)
        self.h = torch.nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.ln_f = torch.nn.LayerNorm(width)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                torch.nn.init.normal_(p, 0, 0.02 / (2 * layers) ** 0.5 if name.endswith("proj.weight") else 0.02)
            elif name.endswith("bias"):
                torch.nn.init.zeros_(p)

    def forward(self, ids):
        x = self.h(self.wte(ids) + self.wpe.weight[: ids.shape[1]])
        return F.linear(self.ln_f(x), self.wte.weight)


def gpt(name, vocab, block, layers, heads, width, batch):
    torch.manual_seed(1)
    model = GPT(vocab, block, layers, heads, width)
    adam = torch.optim.AdamW(model.parameters(), lr=1e-4)
    ids = torch.randint(0, vocab, (batch, block + 1))
    x, y = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()

    def loss():
        return F.cross_entropy(model(x).view(-1, vocab), y.view(-1))

    def step():
        adam.zero_grad()
        loss().backward()
        adam.step()

    line(f"gpt {name}: loss", loss)
    line(f"gpt {name}: step", step)


def group(name):
    return name.startswith(wanted) or wanted.startswith(name)


if group("4"):
    small()
if group("mlp"):
    mlp()
if group("f32"):
    large(torch.float32)
if group("bf16"):
    large(torch.bfloat16)
if group("gpt nano"):
    gpt("nano", 65, 64, 4, 4, 128, 12)
if group("gpt small"):
    gpt("small", 65, 256, 6, 6, 384, 8)
