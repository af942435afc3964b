"""What one rank does; run.py starts it under Sorus or PyTorch (FRAMEWORK). Rank 0 prints one JSON object.

worker.py all_reduce BYTES...          seconds of an all-reduce of float32, least and median over repetitions
worker.py ddp PRESET DTYPE MODE STEPS  seconds of a training step under DistributedDataParallel, and first losses
"""

import json
import os
import statistics
import sys
import time
from contextlib import nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models"))
SORUS = os.environ.get("FRAMEWORK", "sorus") == "sorus"
if SORUS:
    import sorus.distributed as dist

    import sorus as torch
else:
    import torch
    import torch.distributed as dist


def all_reduce(*sizes):
    out = {}
    for size in map(int, sizes):
        t = torch.ones(size // 4)
        repetitions = 2000 if size <= 65536 else 20
        times = []
        for i in range(repetitions + repetitions // 10 + 2):
            if i % 50 == 0:
                dist.barrier()
            start = time.perf_counter()
            dist.all_reduce(t)
            times.append(time.perf_counter() - start)
            t.fill_(1.0) if size <= 65536 else None
        times = times[-repetitions:]
        out[size] = {"least": min(times), "median": statistics.median(times)}
    return out


def ddp(preset, dtype, mode, steps):
    from gpt import GPT
    from gpt_setup import PRESETS, Text, adamw, initial_weights

    c, rank, ranks = PRESETS[preset], dist.get_rank(), dist.get_world_size()
    model, text = GPT(c), Text(c.vocabulary)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in initial_weights(c, 0):
            parameters[name].copy_(torch.from_numpy(value))
    wrapped = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(model.parameters(), **adamw, fused=True)
    precision = (lambda: torch.autocast("cpu", dtype=torch.bfloat16)) if dtype == "bf16" else nullcontext
    run = torch.compile(wrapped) if mode == "compiled" and not SORUS else wrapped

    def train_step(ids, targets):
        optimizer.zero_grad(set_to_none=True)
        with precision():
            loss = run(ids, targets)
        loss.backward()
        optimizer.step()
        return loss.detach()

    if mode == "compiled" and SORUS:
        train_step = torch.compile(train_step)
    wall, cpu, losses = [], [], []
    for i in range(int(steps) + 3):
        ids, targets = map(torch.from_numpy, text.batch(i * ranks + rank, c.batch, c.context))
        start, used = time.perf_counter(), time.process_time()
        loss = train_step(ids, targets)
        loss = loss.item()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
        losses.append(loss)
    return {"wall": statistics.median(wall[3:]), "cpu": statistics.median(cpu[3:]), "losses": losses[:3]}


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    dist.init_process_group("gloo")
    result = {"all_reduce": all_reduce, "ddp": ddp}[sys.argv[1]](*sys.argv[2:])
    if dist.get_rank() == 0:
        print("RESULT " + json.dumps(result), flush=True)
    dist.destroy_process_group()
