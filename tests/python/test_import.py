"""sorus.load_model and `sorus import`: models of other frameworks in Python."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from model_files import Tflite

import sorus

DATA = Path(os.environ.get("SORUS_DATA", "/nonexistent"))
needs_data = pytest.mark.skipif(
    not (DATA / "tiny").exists(), reason="SORUS_DATA does not name the folder with models"
)


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "sorus.cli", "import", *arguments], capture_output=True, text=True)


@needs_data
def test_quantised_model_gives_the_golden_output():
    model = sorus.load_model(DATA / "tiny" / "ad01_int8.tflite")
    state, values = 1, []
    for _ in range(640):
        state = (state * 1664525 + 1013904223) % 2**32
        values.append(state >> 24)
    x = sorus.tensor(np.array(values, dtype=np.uint8).view(np.int8).reshape(1, 640))
    golden = np.frombuffer((DATA / "tiny" / "golden" / "ad01_int8.bin").read_bytes()[:640], dtype=np.int8)
    assert (model(x).numpy().ravel() == golden).all()
    assert model.inputs[0]["scale"][0] == pytest.approx(0.391015, rel=1e-5)
    assert model.inputs[0]["dtype"] == sorus.int8
    assert "quantized_linear" in model.graph()
    assert "TensorFlow Lite" in repr(model)


@needs_data
def test_float_model_classifies_and_trains():
    model = sorus.load_model(DATA / "models" / "mnist.onnx")
    x = sorus.zeros(4, 1, 28, 28)  # the file says 1: the first dimension may differ
    y = model(x)
    assert tuple(y.shape) == (4, 10)
    optimizer = sorus.optim.SGD(model.parameters(), lr=1e-4)
    target = sorus.tensor([1, 2, 3, 4])
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = sorus.nn.functional.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@needs_data
def test_command():
    done = run(str(DATA / "tiny" / "kws_ref_model.tflite"), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["macs"] == 2656768
    assert found["operators"]["DEPTHWISE_CONV_2D"] == 4
    assert found["inputs"][0]["shape"] == [1, 49, 10, 1]
    done = run(str(DATA / "tiny" / "kws_ref_model.tflite"))
    assert "2,656,768 multiply-accumulates" in done.stdout


def test_mistakes(tmp_path: Path):
    (tmp_path / "x.tflite").write_bytes(b"nothing that is a model")
    with pytest.raises(OSError, match="none of the formats"):
        sorus.load_model(tmp_path / "x.tflite")
    (tmp_path / "old.ms").write_bytes(b"\0" * 64)
    with pytest.raises(OSError, match=r"before version 1\.1"):
        sorus.load_model(tmp_path / "old.ms")
    for mark, name in ((b"MSL1", "new.ms"), (b"MSL9", "other.bin"), (b"TFL2", "old.tflite")):
        (tmp_path / name).write_bytes(b"\x10\0\0\0" + mark + b"\0" * 64)
        with pytest.raises(OSError, match=f"of the kind '{mark.decode()}'"):
            sorus.load_model(tmp_path / name)
    done = run(str(tmp_path / "x.tflite"))
    assert done.returncode == 1 and "none of the formats" in done.stderr and "Traceback" not in done.stderr
    done = run("--help")
    assert done.returncode == 0 and "examples:" in done.stdout


@needs_data
def test_mindspore_lite():
    model = sorus.load_model(DATA / "ms" / "lenet_tod_infer.ms")
    assert model.format == "MindSpore Lite"
    assert sum(p.numel() for p in model.parameters()) == 61684
    assert tuple(model(sorus.zeros(2, 32, 32, 1)).shape) == (2, 10)
    with pytest.raises(NotImplementedError, match="number 10 ") as caught:  # a training graph
        sorus.load_model(DATA / "ms" / "conv_train_model.ms")
    assert "number 33 " in str(caught.value)  # all of them, not only the first


@needs_data
@pytest.mark.parametrize("name", ["models/mnist.onnx", "ms/lenet_tod_infer.ms", "tiny/kws_ref_model.tflite"])
def test_damaged_files(tmp_path: Path, name: str):
    valid, random = (DATA / name).read_bytes(), np.random.default_rng(1)
    path, refused = tmp_path / Path(name).name, 0
    for _ in range(150):
        damaged = bytearray(valid)
        for _ in range(random.integers(1, 20)):
            # The tables lie at one end, weights are most of the rest.
            at = int(random.integers(len(damaged)) if random.random() < 0.3 else random.integers(3000))
            at = len(damaged) - 1 - at if random.random() < 0.5 else at
            damaged[at] = random.integers(256)
        path.write_bytes(damaged if random.random() < 0.9 else damaged[: random.integers(len(damaged))])
        try:
            sorus.load_model(path)
        except (OSError, NotImplementedError):
            refused += 1
    assert refused > 20


def test_weights_of_bytes_beside_floats(tmp_path: Path):
    """ "Dynamic range" models: what the bytes stand for is multiplied."""
    f, random = Tflite(), np.random.default_rng(1)
    w, scale = random.integers(-127, 128, (4, 3)).astype(np.int8), np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    x, y = f.tensor("x", (2, 3), "float32"), f.tensor("y", (2, 4), "float32")
    f.operator(9, [x, f.constant("w", w, scale, np.zeros(4)), -1], [y], kind=8)
    f.graph([x], [y])
    (tmp_path / "m.tflite").write_bytes(f.file())
    v = random.normal(0, 1, (2, 3)).astype(np.float32)
    found = sorus.load_model(tmp_path / "m.tflite")(sorus.tensor(v)).detach().numpy()
    assert np.abs(found - v @ (w * scale[:, None]).T).max() < 1e-4


def test_size_of_a_result_that_is_computed(tmp_path: Path):
    f = Tflite()
    size, x = f.tensor("size", (4,), "int32"), f.tensor("x", (1, 2, 2, 1), "float32")
    y, w = f.tensor("y", (1, 4, 4, 1), "float32"), f.constant("w", np.ones((1, 2, 2, 1), np.float32))
    f.operator(67, [size, w, x], [y], {0: np.int8(1), 1: np.int32(2), 2: np.int32(2)}, kind=49)
    f.graph([size, x], [y])
    (tmp_path / "m.tflite").write_bytes(f.file())
    model, v = sorus.load_model(tmp_path / "m.tflite"), np.arange(4, dtype=np.float32).reshape(1, 2, 2, 1)
    found = model(sorus.tensor(np.array([1, 4, 4, 1], np.int32)), sorus.tensor(v)).detach().numpy()
    assert (found[0, :, :, 0] == np.kron(v[0, :, :, 0], np.ones((2, 2)))).all()
