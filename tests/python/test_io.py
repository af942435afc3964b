"""sorus.save and load, safetensors and npy from Python: round trips, other programs' files, bad files."""

import io
import json
import math
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from sorus.io.safetensors import load_file, safe_open, save_file

import sorus
from sorus.io import CheckpointFolder, load_idx, load_npy, save_npy


def test_save_and_load_nested_values(tmp_path: Path) -> None:
    value = {
        "model": {"w": sorus.arange(6).reshape(2, 3), "b": sorus.ones(2, dtype=sorus.bfloat16)},
        "steps": [1, 2.5, None, True, "text", (3, sorus.tensor(4.0))],
        "odd": {1: "one", (2, 3): math.inf, "$tensor": b"\0\xff"},
        "nan": math.nan, "big": 2**80, "empty": [], "np": np.float32(1.5),
    }  # fmt: skip
    sorus.save(value, tmp_path / "x")
    back = sorus.load(tmp_path / "x")
    assert list(back) == list(value)
    assert back["model"]["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert back["model"]["b"].dtype == sorus.bfloat16
    assert back["steps"][:5] == [1, 2.5, None, True, "text"]
    assert isinstance(back["steps"][5], tuple) and back["steps"][5][1].item() == 4
    assert back["odd"] == {1: "one", (2, 3): math.inf, "$tensor": b"\0\xff"}
    assert math.isnan(back["nan"]) and back["big"] == 2**80 and back["empty"] == [] and back["np"] == 1.5
    # Another program reads the tensors under the names of their places.
    assert safe_open(tmp_path / "x").__enter__().keys() == ["model.b", "model.w", "steps.5.1"]

    sorus.save(sorus.tensor([1, 2]), tmp_path / "x")
    assert sorus.load(tmp_path / "x").tolist() == [1, 2]
    with pytest.raises(TypeError, match=r"save: a\.1 is a function"):
        sorus.save({"a": [1, len.__class__ and (lambda: 0)]}, tmp_path / "x")
    with pytest.raises(TypeError, match="save its state_dict"):
        sorus.save({"m": sorus.nn.Linear(2, 2)}, tmp_path / "x")
    assert sorus.load(tmp_path / "x").tolist() == [1, 2]  # the older file is whole


def test_tensors_saved_once(tmp_path: Path) -> None:
    t = sorus.zeros(1000)
    sorus.save([t, t], tmp_path / "x")
    assert (tmp_path / "x").stat().st_size < 5000


def test_safetensors_of_and_for_others(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([True, False])}
    safetensors.numpy.save_file(arrays, tmp_path / "x", metadata={"k": "v"})
    back = load_file(tmp_path / "x")
    assert back["a"].tolist() == arrays["a"].tolist() and back["b"].dtype == sorus.bool
    assert sorus.load(tmp_path / "x")["a"].tolist() == arrays["a"].tolist()
    with safe_open(tmp_path / "x") as f:
        assert f.metadata() == {"k": "v"}
        assert f.get_tensor("b").tolist() == [True, False]
    save_file({"t": back["a"].T}, tmp_path / "y", {"format": "pt"})
    assert safetensors.numpy.load_file(tmp_path / "y")["t"].tolist() == arrays["a"].T.tolist()
    with pytest.raises(TypeError, match="t is not a tensor"):
        save_file({"t": 3}, tmp_path / "y")


@pytest.mark.parametrize(
    "header, message",
    [
        ({"t": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 4]}}, "overflow"),
        ({"t": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
          "u": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, "overlap|expected"),
        ({"t": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, "8"),
        ({"t": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, "shape"),
    ],
)  # fmt: skip
def test_hostile_safetensors(tmp_path: Path, header: dict, message: str) -> None:
    text = json.dumps(header).encode()
    (tmp_path / "x").write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 4)
    with pytest.raises(OSError, match=message) as error:
        load_file(tmp_path / "x")
    assert str(tmp_path / "x") in str(error.value)


def test_damaged_state(tmp_path: Path) -> None:
    for state in ('{"value": {"$tensor": "none"}}', '{"value": {"$dict": [1]}}', '{"value": {"$float": "x"}}'):
        save_file({}, tmp_path / "x", {"sorus.state": state})
        with pytest.raises(OSError, match="the state is damaged"):
            sorus.load(tmp_path / "x")
    save_file({}, tmp_path / "x", {"sorus.state": "{"})
    with pytest.raises(OSError, match=r"sorus\.state"):
        sorus.load(tmp_path / "x")
    sorus.save({"t": sorus.zeros(100)}, tmp_path / "x")
    whole = (tmp_path / "x").read_bytes()
    (tmp_path / "x").write_bytes(whole[:-50])
    with pytest.raises(OSError, match="outside the 350 bytes"):
        sorus.load(tmp_path / "x")
    with pytest.raises(OSError, match="none"):
        sorus.load(tmp_path / "none")


def test_npy_and_idx(tmp_path: Path) -> None:
    array = np.asfortranarray(np.random.default_rng(1).normal(size=(3, 4)))
    np.save(tmp_path / "x.npy", array)
    assert load_npy(tmp_path / "x.npy").tolist() == array.tolist()
    save_npy(tmp_path / "y.npy", sorus.from_numpy(array.T))
    assert (np.load(tmp_path / "y.npy") == array.T).all()
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-1])
    with pytest.raises(OSError, match=r"x\.npy"):
        load_npy(tmp_path / "x.npy")
    (tmp_path / "i").write_bytes(b"\0\0\x08\x01\0\0\0\x02ab")
    assert load_idx(tmp_path / "i").tolist() == [97, 98]


FULL_DISK = """
import resource, signal, sys
import sorus
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, resource.RLIM_INFINITY))
sorus.save({"t": sorus.ones(100_000)}, sys.argv[1])
"""


def test_a_full_disk(tmp_path: Path) -> None:
    """A process whose files may not grow beyond 64 KiB: the older file stays, nothing is left beside it."""
    sorus.save({"t": sorus.ones(10)}, tmp_path / "x")
    done = subprocess.run([sys.executable, "-c", FULL_DISK, tmp_path / "x"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "OSError" in done.stderr and "cannot write" in done.stderr and "older file" in done.stderr
    assert sorus.load(tmp_path / "x")["t"].tolist() == [1] * 10
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_checkpoint_folder(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "c", keep=2)
    assert folder.latest() is None
    for step in (1, 2, 3):
        folder.save(step, {"step": step, "w": sorus.full((5,), step)})
    assert [p.name for p in folder.list()] == ["step-000000002.safetensors", "step-000000003.safetensors"]
    newest = folder.list()[-1]
    newest.write_bytes(newest.read_bytes()[:-1])  # torn by something else than a kill
    assert folder.latest() == folder.list()[0]
    assert "step-000000003" in folder.problems[0]
    assert sorus.load(folder.latest())["step"] == 2


def test_save_and_load_through_file_objects(tmp_path: Path) -> None:
    value = {"w": sorus.arange(6).reshape(2, 3), "step": 3}
    buffer = io.BytesIO()
    buffer.write(b"before")
    sorus.save(value, buffer)
    buffer.seek(6)
    back = sorus.load(buffer)
    assert back["step"] == 3 and sorus.equal(back["w"], value["w"])
    with open(tmp_path / "x", "wb") as file:
        sorus.save(value, file)
    with open(tmp_path / "x", "rb") as file:
        assert sorus.equal(sorus.load(file)["w"], value["w"])
    assert sorus.equal(sorus.load(tmp_path / "x")["w"], value["w"])
    with pytest.raises(OSError, match=r"as torch\.save writes it"):
        sorus.load(io.BytesIO(b"PK\x03\x04" + bytes(50)))
