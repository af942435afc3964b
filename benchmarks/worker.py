"""One framework running one program of benchmarks/models, told by its parent (workers.py) what to do when.

Commands come as JSON lines on standard input, answers go as JSON lines to what was standard output; what the framework
prints goes to standard error. It runs in the environment of the peers too: nothing but the framework, NumPy and the
standard library is imported.
"""

import importlib
import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "models"))


def peak_bytes(reset=False):
    """The most memory that was resident at once; `reset` starts the count again from what is resident now."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmHWM")


class Worker:
    def __init__(self, module, options):
        begin = time.perf_counter()
        self.program = importlib.import_module(module).Program(**options)
        self.at = 0
        self.ready = {"seconds": time.perf_counter() - begin}

    def steps(self, count):
        if hasattr(self.program, "run"):
            self.program.run(count)
        else:
            for i in range(self.at, self.at + count):
                self.program.step(i)
        self.at += count
        self.program.sync()

    def run(self, count):
        wall, cpu = time.perf_counter(), time.process_time()
        self.steps(count)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return {"steps": count, "wall": wall, "cpu": cpu}

    def losses(self, count, budget=float("inf")):
        """The first steps one by one, with their losses: proof that all frameworks compute the same.

        Not fewer than two, and no more once `budget` seconds have passed: a type that the processor has no instructions
        for can make a step take a minute.
        """
        losses, seconds, cpu = [], [], []
        end = time.perf_counter() + budget
        while len(losses) < count and (len(losses) < 2 or time.perf_counter() < end):
            begin, used = time.perf_counter(), time.process_time()
            losses.append(float(self.program.step(self.at).item()))
            seconds.append(time.perf_counter() - begin)
            cpu.append(time.process_time() - used)
            self.at += 1
        return {"losses": losses, "seconds": seconds, "cpu": cpu}

    def peak(self, count):
        """Of `count` steps; with 0 of all that ran so far."""
        if count == 0:
            return {"bytes": peak_bytes()}
        peak_bytes(reset=True)
        self.steps(count)
        return {"bytes": peak_bytes()}

    def profile(self, count):
        import sorus

        with sorus.profile() as p:
            self.steps(count)
        return {"table": p.table(limit=12), "steps": count}

    def train(self, count, every):
        """A run of training with the validation loss at intervals."""
        curve = [(0, self.program.validation_loss())]
        for i in range(count):
            self.program.step(i)
            if (i + 1) % every == 0:
                curve.append((i + 1, self.program.validation_loss()))
        return {"curve": curve}

    def speeds(self):
        """The fastest this framework multiplies matrices (GFLOP/s by type) and adds large arrays (GB/s)."""
        import numpy as np

        name = "torch" if os.environ["FRAMEWORK"] == "torch" else "sorus"
        torch = importlib.import_module(name)

        def fastest(f):
            f()
            times = []
            end = time.perf_counter() + 0.5
            while len(times) < 5 or (time.perf_counter() < end):
                begin = time.perf_counter()
                f()
                times.append(time.perf_counter() - begin)
            return min(times)

        def array(*shape):
            return torch.from_numpy(np.random.RandomState(0).standard_normal(shape).astype(np.float32))

        def matmul_flops(m, k, n, dtype):
            a, b = array(m, k).to(dtype), array(n, k).to(dtype)
            return 2.0 * m * k * n / fastest(lambda: torch.nn.functional.linear(a, b))

        shapes = ((2048, 384, 1536), (1024, 1024, 1024), (256, 768, 3072))
        with torch.no_grad():
            found = {
                key: max(matmul_flops(*shape, dtype) for shape in shapes) / 1e9
                for key, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
            }
            x, y, z = array(1 << 24), array(1 << 24), array(1 << 24)
            found["memory"] = 3 * 4 * (1 << 24) / fastest(lambda: torch.add(x, y, out=z)) / 1e9
        if name == "sorus":
            from sorus import _core

            machine = getattr(_core, "_machine", None)
            if machine is not None:
                found["memory"] = max(found["memory"], machine.measure_memory_gbs())
        found["version"] = torch.__version__
        return found


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    module, options = sys.argv[1], json.loads(sys.argv[2])

    def answer(value):
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    try:
        worker = Worker(module, options) if module else Worker.__new__(Worker)
        answer({"ok": getattr(worker, "ready", {})})
    except Exception as error:
        answer({"error": f"{type(error).__name__}: {error}"})
        raise
    for line in sys.stdin:
        command, arguments = json.loads(line)
        try:
            answer({"ok": getattr(worker, command)(**arguments)})
        except Exception as error:  # reported by the parent, which goes on with the others
            answer({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
