"""Generated C under other eyes: clang without a warning (gcc: --verify), its static analyser, the sanitizers; four models in one
program, each in two threads with an arena of its own."""

from __future__ import annotations

import pathlib
import shutil
import subprocess

import pytest
from sorus._core import _device
from sorus.codegen.source import source_of
from test_codegen import MODELS, model

from sorus import codegen as device

STRICT = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-O1"]
# How clang, which is one program for all processors, is told which one is meant.
CLANG = {
    "c": [],
    "x86": [],
    "arm64": ["--target=aarch64-linux-gnu", "-ffreestanding"],
    "arm32": ["--target=arm-linux-gnueabihf", "-march=armv7-a", "-mfpu=neon", "-ffreestanding"],
    "cortex-m0": ["--target=arm-none-eabi", "-mcpu=cortex-m0", "-ffreestanding"],
    "cortex-m4": [
        "--target=arm-none-eabi",
        "-mcpu=cortex-m4",
        "-mfloat-abi=hard",
        "-mfpu=fpv4-sp-d16",
        "-ffreestanding",
    ],
    "cortex-m55": ["--target=arm-none-eabi", "-mcpu=cortex-m55", "-mfloat-abi=hard", "-ffreestanding"],
}


def clang() -> str:
    found = shutil.which("clang") or shutil.which("clang-14")
    if not found:
        pytest.skip("not installed (scripts/setup.sh device): clang")
    return found


def quiet(command: list[str], cwd: pathlib.Path) -> None:
    """Runs a compiler, which must end well and have nothing to say."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, ""), " ".join(command)


@pytest.mark.parametrize("target", CLANG)
def test_clang_and_its_analyser_have_nothing_to_say(target: str, tmp_path: pathlib.Path) -> None:
    program = clang()
    # Kernel sets see all models, another processor with the same set one.
    for name in MODELS if target in ("c", "cortex-m4", "cortex-m55") else ["kws"]:
        device.generate(model(name), target, name, tmp_path)
        source = f"src/{name}.c"
        quiet([program, *CLANG[target], *STRICT, "-Iinclude", "-c", source, "-o", "model.o"], tmp_path)
        quiet([program, *CLANG[target], "--analyze", "-std=c99", "-Iinclude", source, "-o", "out.plist"], tmp_path)


PROGRAM = """
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
%(includes)s

typedef struct {
  const char *name;
  int (*run)(void *, const void *const[], void *const[]);
  size_t arena, in, out;
} Model;

static const Model models[] = {%(models)s};
enum { MODELS = sizeof models / sizeof *models, RUNS = %(runs)d, THREADS = 2 * MODELS };

static unsigned char *contents(const char *name, const char *what, size_t bytes)
{
  char path[100];
  unsigned char *memory = malloc(bytes);
  FILE *file;
  snprintf(path, sizeof path, "%%s.%%s", name, what);
  file = fopen(path, "rb");
  if (!file || !memory || fread(memory, 1, bytes, file) != bytes) abort();
  fclose(file);
  return memory;
}

static void *work(void *given)
{
  const Model *const m = given;
  unsigned char *const in = contents(m->name, "in", RUNS * m->in), *const out = contents(m->name, "out", RUNS * m->out);
  unsigned char *const arena = aligned_alloc(16, (m->arena + 15) / 16 * 16), *const x = malloc(m->in), *const y = malloc(m->out);
  long wrong = 0;
  for (int r = 0; r < RUNS; r++) {
    const void *inputs[] = {x};
    void *outputs[] = {y};
    memset(arena, r, m->arena);
    memcpy(x, in + r * m->in, m->in);
    wrong += m->run(arena, inputs, outputs) != 0;
    wrong += memcmp(y, out + r * m->out, m->out) != 0;
    wrong += memcmp(x, in + r * m->in, m->in) != 0;
  }
  free(in), free(out), free(arena), free(x), free(y);
  return (void *)wrong;
}

int main(void)
{
  pthread_t threads[THREADS];
  long all = 0;
  for (int i = 0; i < THREADS; i++)
    if (pthread_create(&threads[i], NULL, work, (void *)&models[i %% MODELS])) abort();
  for (int i = 0; i < THREADS; i++) {
    void *wrong;
    if (pthread_join(threads[i], &wrong)) abort();
    all += (long)wrong;
  }
  return all != 0;
}
"""


@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_four_models_in_one_program_and_two_threads_each(sanitizers: str, tmp_path: pathlib.Path) -> None:
    runs, includes, models = 1, "", []
    for name in MODELS:
        path = model(name)
        device.generate(path, "c", name, tmp_path)
        source = source_of(path, None)
        inputs = _device.random_inputs(source, runs, 7)
        (tmp_path / f"{name}.in").write_bytes(inputs)
        (tmp_path / f"{name}.out").write_bytes(_device.run(source, inputs))
        includes += f'#include "{name}.h"\n'
        up = name.upper()
        models.append(f'{{"{name}", {name}_run, {up}_ARENA_BYTES, {up}_INPUT0_BYTES, {up}_OUTPUT0_BYTES}}')
    text = PROGRAM % {"includes": includes, "models": ", ".join(models), "runs": runs}
    (tmp_path / "main.c").write_text(text)
    flags = ["-O1", "-g", f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all", "-no-pie"]
    objects = []
    for name in MODELS:
        objects.append(f"{name}.o")
        quiet(["gcc", "-std=c99", *flags, "-Iinclude", "-c", f"src/{name}.c", "-o", objects[-1]], tmp_path)
    quiet(
        ["gcc", "-std=gnu11", *flags, "-Iinclude", "main.c", *objects, "-lm", "-lpthread", "-o", "program"], tmp_path
    )
    # Where addresses are spread widely the thread sanitizer cannot start.
    quiet(["setarch", "-R", "./program"], tmp_path)
