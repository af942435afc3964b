"""GFLOP/s of PyTorch's matmul on gemm_bench's products: best wall time, and (by CPU time / threads)."""

import resource
import time

import torch

SHAPES = [
    (2048, 384, 1536),
    (2048, 1536, 384),
    (2048, 384, 1152),
    (2048, 384, 384),
    (768, 128, 512),
    (768, 128, 128),
    (256, 768, 3072),
    (256, 3072, 768),
    (256, 768, 2304),
    (256, 768, 50257),
    (1, 784, 128),
]


def cpu():
    r = resource.getrusage(resource.RUSAGE_SELF)
    return r.ru_utime + r.ru_stime


for dtype in (torch.float32, torch.bfloat16):
    for m, k, n in SHAPES:
        x, w, dy = (torch.randn(*s).to(dtype) for s in ((m, k), (n, k), (m, n)))
        cells = []
        for name, f in (("fwd", lambda: x @ w.T), ("dX", lambda: dy @ w), ("dW", lambda: dy.T @ x)):
            f(), f()
            best, rounds, start, c0 = 1e9, 0, time.perf_counter(), cpu()
            while time.perf_counter() - start < 0.15:
                t = time.perf_counter()
                f()
                best, rounds = min(best, time.perf_counter() - t), rounds + 1
            flops = 2e-9 * m * n * k
            cells.append(
                f"{name} {flops / best:6.1f} ({flops * rounds * torch.get_num_threads() / (cpu() - c0):6.1f})"
            )
        print(f"{str(dtype)[6:]:9} {m:5} {k:5} {n:5} ", "  ".join(cells), flush=True)
