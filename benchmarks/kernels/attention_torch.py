"""The same attention by PyTorch's scaled_dot_product_attention, milliseconds: best wall time and CPU time / threads."""

import resource
import time

import torch


def cpu():
    r = resource.getrusage(resource.RUSAGE_SELF)
    return r.ru_utime + r.ru_stime


def measure(f):
    f()
    best, rounds, start, c0 = 1e9, 0, time.perf_counter(), cpu()
    while time.perf_counter() - start < 0.3:
        t = time.perf_counter()
        f()
        best, rounds = min(best, time.perf_counter() - t), rounds + 1
    return f"{best * 1e3:.3f} ({(cpu() - c0) / rounds / torch.get_num_threads() * 1e3:.3f})"


for dtype in (torch.float32, torch.bfloat16):
    for b, h, n, d in ((8, 6, 256, 64), (12, 4, 64, 32), (1, 12, 256, 64)):
        q, k, v = (torch.randn(b, n, h, d).to(dtype).transpose(1, 2).requires_grad_() for _ in range(3))
        attend = torch.nn.functional.scaled_dot_product_attention
        out = attend(q, k, v, is_causal=True)
        go = torch.ones_like(out)
        forward = measure(lambda: attend(q, k, v, is_causal=True))
        backward = measure(lambda: torch.autograd.grad(out, (q, k, v), go, retain_graph=True))
        print(dtype, b, h, n, d, "forward", forward, "backward", backward, flush=True)
