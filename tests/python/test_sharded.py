"""Parameters in rows (fully_shard) and checkpoints that any number of ranks can load."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import sorus.distributed as dist
import sorus.distributed.checkpoint as dcp
from sorus.launch import launch

import sorus

CASE = str(Path(__file__).parent / "rank_cases" / "fsdp.py")


def test_rows_equal_replicas_and_load_under_any_number_of_ranks(tmp_path):
    folder = tmp_path / "checkpoint"
    assert launch([CASE, str(folder), "save"], 3) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint"]
    files = sorted(p.name for p in folder.iterdir())
    assert files == ["index.json", *(f"rank-0000{r}.safetensors" for r in range(3))]
    for ranks in (1, 2):
        assert launch([CASE, str(folder), f"load{ranks}"], ranks) == 0
    with np.load(f"{folder}.load1.npz") as one, np.load(f"{folder}.load2.npz") as two:
        assert len(one.files) == 28
        for name in one.files:
            assert np.array_equal(one[name], two[name])
    # One process without any ranks reads the same.
    state = {"model": {"head.weight": sorus.zeros(5, 6)}}
    dcp.load(state, checkpoint_id=folder)
    assert np.array_equal(state["model"]["head.weight"].numpy(), np.load(f"{folder}.load1.npz")["arr_12"])


def test_one_process_saves_and_loads(tmp_path):
    net = sorus.nn.Linear(3, 2)
    state = {"net": net, "list": [sorus.ones(2), 5], "t": sorus.arange(6).reshape(2, 3).t(), "inf": float("inf")}
    dcp.save(state, checkpoint_id=tmp_path / "a")
    other = sorus.nn.Linear(3, 2)
    loaded = {"net": other, "list": [sorus.zeros(2), 0], "t": sorus.zeros(3, 2, dtype=sorus.int64), "inf": 0.0}
    dcp.load(loaded, checkpoint_id=tmp_path / "a")
    assert bool((other.weight == net.weight).all()) and loaded["list"][1] == 5 and loaded["inf"] == float("inf")
    assert loaded["list"][0].tolist() == [1, 1] and loaded["t"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_what_does_not_fit_is_named(tmp_path):
    dcp.save({"w": sorus.ones(4, 3)}, checkpoint_id=tmp_path / "a")
    with pytest.raises(ValueError, match=r"'w' has the shape \(4, 3\).*\(3, 4\) here"):
        dcp.load({"w": sorus.ones(3, 4)}, checkpoint_id=tmp_path / "a")
    with pytest.raises(KeyError, match="no tensor 'v'"):
        dcp.load({"v": sorus.ones(3)}, checkpoint_id=tmp_path / "a")
    with pytest.raises(OSError, match=r"index\.json"):
        dcp.load({"w": sorus.ones(3)}, checkpoint_id=tmp_path / "b")
    (tmp_path / "a" / "rank-00000.safetensors").write_bytes(b"short")
    with pytest.raises(OSError, match="rank-00000"):
        dcp.load({"w": sorus.ones(4, 3)}, checkpoint_id=tmp_path / "a")
    with pytest.raises(ValueError, match="checkpoint_id"):
        dcp.save({"w": sorus.ones(1)})


def test_a_rank_that_cannot_write_fails_at_all_and_the_older_one_stays(tmp_path):
    def rank(r: int) -> str:
        dcp.save({"w": sorus.ones(3), "r": r}, checkpoint_id=tmp_path / "a")
        with pytest.raises(ValueError, match="float32 of shape"):
            dcp.save({"w": sorus.ones(3 + r)}, checkpoint_id=tmp_path / "a")
        try:
            dcp.save({"w": sorus.ones(3)}, checkpoint_id="/proc/nowhere/a")
        except OSError as error:
            return str(error)
        return ""

    errors = dist.run_threads(rank, 2)
    assert errors[0] == errors[1] and "rank 0" in errors[0]
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    state = {"w": sorus.zeros(3), "r": None}
    dcp.load(state, checkpoint_id=tmp_path / "a")
    assert state["r"] == 0 and state["w"].tolist() == [1, 1, 1]


KILLED = """
import sys, sorus, sorus.distributed as dist, sorus.distributed.checkpoint as dcp
dist.init_process_group()
n = 0
while True:
    n += 1
    dcp.save({"w": sorus.full((200000,), float(n)), "n": n}, checkpoint_id=sys.argv[1])
    if n == 2 and dist.get_rank() == 0:
        print("saved", flush=True)
"""


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(KILLED)
    folder = tmp_path / "c" / "checkpoint"
    job = subprocess.Popen([sys.executable, "-m", "sorus.cli", "run", "-n", "2", str(script), str(folder)],
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=dict(os.environ))  # fmt: skip
    assert job.stdout is not None and job.stdout.readline() == "saved\n"
    time.sleep(0.05)
    job.send_signal(signal.SIGKILL)
    job.wait(timeout=20)
    time.sleep(0.2)
    state = {"w": sorus.zeros(200000), "n": 0}
    dcp.load(state, checkpoint_id=folder)
    assert state["n"] >= 2 and bool((state["w"] == float(state["n"])).all())


def test_parameters_without_dimensions_are_refused():
    class Scalar(sorus.nn.Module):
        def __init__(self):
            super().__init__()
            self.s = sorus.nn.Parameter(sorus.tensor(1.0))

    def rank(r: int) -> None:
        with pytest.raises(ValueError, match="without dimensions"):
            dist.fsdp.fully_shard(Scalar())
        with pytest.raises(NotImplementedError, match="offload_policy"):
            dist.fsdp.fully_shard(Scalar(), offload_policy=1)
        with pytest.raises(TypeError, match="must be a MixedPrecisionPolicy, found 1"):
            dist.fsdp.fully_shard(Scalar(), mp_policy=1)

    dist.run_threads(rank, 2)
