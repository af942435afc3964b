"""Generated C beside the interpreter of TensorFlow Lite (XNNPACK), one thread each, in turns.

python benchmarks/device.py mobilenet.tflite --peer .peers/bin/python     # a Python that has ai-edge-litert or tflite-runtime

Every round runs both programs on the same inputs, one after the other; a program's figure is the median processor time of its
inferences, the ratio is taken round by round. The last column is the largest difference between both outputs.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

import numpy as np

from sorus import codegen, load_model

PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "net.h"
static unsigned char arena[NET_ARENA_BYTES] __attribute__((aligned(64)));
static unsigned char in[NET_INPUT0_BYTES] __attribute__((aligned(64))), out[NET_OUTPUT0_BYTES] __attribute__((aligned(64)));
int main(int argc, char **argv)
{
  const void *inputs[] = {in};
  void *outputs[] = {out};
  FILE *f = fopen(argv[1], "rb");
  int i, n = argc > 3 ? atoi(argv[3]) : 1;
  if (!f || fread(in, 1, sizeof in, f) != sizeof in) return 1;
  fclose(f);
  for (i = -3; i < n; i++) {
    struct timespec a, b;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    if (net_run(arena, inputs, outputs)) return 2;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    if (i >= 0) printf("%.9f\n", (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec));
  }
  f = fopen(argv[2], "wb");
  if (!f || fwrite(out, 1, sizeof out, f) != sizeof out) return 3;
  return fclose(f);
}
"""

PEER = r"""
import sys, time
import numpy as np
try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:
    from tflite_runtime.interpreter import Interpreter
model, given, out, n = sys.argv[1:]
net = Interpreter(model, num_threads=1)
net.allocate_tensors()
i, o = net.get_input_details()[0], net.get_output_details()[0]
net.set_tensor(i["index"], np.fromfile(given, i["dtype"]).reshape(i["shape"]))
for k in range(-3, int(n)):
    begin = time.process_time()
    net.invoke()
    if k >= 0:
        print(time.process_time() - begin)
net.get_tensor(o["index"]).tofile(out)
"""


def times(command: list[str]) -> float:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return statistics.median(float(line) for line in done.stdout.split())


def compared(model: str, target: str, peer: str, rounds: int, inferences: int, folder: pathlib.Path) -> dict:
    """One row: milliseconds of both, their ratio and its spread, and how far the outputs are apart."""
    found = next(t for t in codegen.targets() if t["name"] == target)
    codegen.generate(model, target, "net", folder)
    (folder / "main.c").write_text(PROGRAM)
    (folder / "peer.py").write_text(PEER)
    sources = [str(folder / "main.c"), str(folder / "src" / "net.c")]
    program, given = str(folder / "net"), str(folder / "in.bin")
    subprocess.run([found["compiler"], "-std=gnu99", "-O2", "-I", str(folder / "include"), *sources, "-lm", "-o", program],
                   check=True)  # fmt: skip
    loaded = load_model(model)
    shape, kind = loaded.inputs[0]["shape"], str(loaded.inputs[0]["dtype"]).removeprefix("sorus.")
    random = np.random.default_rng(0)
    if kind == "float32":
        random.uniform(-1, 1, shape).astype(np.float32).tofile(given)
    else:
        random.integers(0, 256, shape).astype(np.uint8).tofile(given)
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(times([program, given, str(folder / "a.bin"), str(inferences)]))
        theirs.append(times([peer, str(folder / "peer.py"), model, given, str(folder / "b.bin"), str(inferences)]))
    result = str(loaded.outputs[0]["dtype"]).removeprefix("sorus.")
    a, b = (np.fromfile(folder / f, result).astype(np.float64) for f in ("a.bin", "b.bin"))
    ratios = sorted(y / x for x, y in zip(ours, theirs, strict=True))
    return {
        "model": pathlib.Path(model).name, "target": target, "rounds": rounds,
        "sorus_ms": 1e3 * statistics.median(ours), "peer_ms": 1e3 * statistics.median(theirs),
        "ratio": statistics.median(ratios), "ratio_low": ratios[0], "ratio_high": ratios[-1],
        "largest_difference": float(np.abs(a - b).max()),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="a .tflite file with one input and one output")
    parser.add_argument("--peer", default=sys.executable, metavar="PYTHON", help="a Python that has the interpreter")
    parser.add_argument("--target", default="x86", help="a target that runs on this machine (x86)")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--inferences", type=int, default=50, help="of each program in a round (50)")
    parser.add_argument("--json", action="store_true", help="one object a line")
    options = parser.parse_args()
    for model in options.models:
        with tempfile.TemporaryDirectory() as folder:
            row = compared(
                model, options.target, options.peer, options.rounds, options.inferences, pathlib.Path(folder)
            )
        if options.json:
            print(json.dumps(row), flush=True)
        else:
            print(f"{row['model']:<40} Sorus {row['sorus_ms']:8.3f} ms   TensorFlow Lite {row['peer_ms']:8.3f} ms   ratio "
                  f"{row['ratio']:5.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})   apart {row['largest_difference']:.2g}",
                  flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
