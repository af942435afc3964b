"""sorus.distributed and DistributedDataParallel at ranks that are processes (sorus run) and threads; failures and the launcher."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import sorus.distributed as dist
from sorus.launch import launch

import sorus

CASES = Path(__file__).parent / "rank_cases"
sys.path.insert(0, str(CASES))

import collectives  # noqa: E402
import ddp  # noqa: E402


def sorus_run(*arguments: str, timeout: float = 60, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "sorus.cli", "run", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env={**os.environ, **environment})


needs_mpi = pytest.mark.skipif(
    not dist.is_mpi_available() or not shutil.which("mpirun"), reason="there is no MPI here"
)


def mpirun(ranks: int, script: str, **environment: str) -> subprocess.CompletedProcess:
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(["mpirun", "--oversubscribe", "-n", str(ranks), sys.executable, script],
                          capture_output=True, text=True, timeout=500, env={**os.environ, **root, **environment})  # fmt: skip


def is_running(marker: str) -> list[str]:
    """Command lines of processes that have the marker among their arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
                state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                continue
            if marker in line and state != "Z":
                found.append(line)
    return found


@pytest.mark.parametrize("case", ["collectives", "ddp"])
def test_processes(case):
    assert launch([str(CASES / f"{case}.py")], 3) == 0


@needs_mpi
@pytest.mark.parametrize(
    ("ranks", "machine", "case"),
    [(3, 0, "collectives"), (3, 2, "collectives"), (4, 2, "ddp"), (4, 0, "plans"), (3, 2, "plans")],
)
def test_mpi(ranks, machine, case):
    """On one machine, and as if it were several: of two ranks and one, of two and two."""
    done = mpirun(ranks, str(CASES / f"{case}.py"), SORUS_MPI_MACHINE_SIZE=str(machine))
    assert done.returncode == 0, done.stdout + done.stderr


def test_threads_have_all_collectives():
    dist.run_threads(lambda rank: collectives.check(sorus, dist), 4)
    assert not dist.is_initialized()


def test_threads_train_as_one_process():
    lock = threading.Lock()
    dist.run_threads(lambda rank: ddp.check(sorus, dist, lock), 2)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_normalization_with_the_statistics_of_all_ranks(momentum):
    """Batches of 3 and 5 rows are normalized, and pass gradients, as the 8 rows would be by one process."""
    from sorus import nn

    x = sorus.randn(8, 4, 3, dtype=sorus.float64)
    weights = sorus.randn(8, 4, 3, dtype=sorus.float64)
    alone = nn.BatchNorm1d(4, momentum=momentum, dtype=sorus.float64)
    sorus.nn.init.normal_(alone.weight)
    state = {name: t.clone() for name, t in alone.state_dict().items()}
    whole = x.clone().requires_grad_()
    for _ in range(2):
        y = alone(whole)
    (y * weights).sum().backward()
    lock = threading.Lock()
    grads: list = []

    def rank(r: int) -> None:
        part = slice(0, 3) if r == 0 else slice(3, 8)
        with lock:
            net = nn.Sequential(nn.Identity(), nn.BatchNorm1d(4, momentum=momentum, dtype=sorus.float64))
            net[1].load_state_dict(state)
            net = nn.SyncBatchNorm.convert_sync_batchnorm(net)
            mine = x[part].clone().requires_grad_()
        for _ in range(2):
            y = net(mine)
        (y * weights[part]).sum().backward()
        close = sorus.testing.assert_close
        close(y, alone_y[part])
        close(mine.grad, whole.grad[part])
        close(dict(net[1].named_buffers()), dict(alone.named_buffers()))
        close(net.eval()(mine).detach(), alone_eval[part])
        with lock:
            grads.append(net[1].weight.grad)

    alone_y, alone_eval = y.detach(), alone.eval()(x).detach()
    alone_y.requires_grad_(False)
    dist.run_threads(rank, 2)
    sorus.testing.assert_close(sum(grads), alone.weight.grad)
    with pytest.raises(ValueError, match=r"\[batch, 4, ...\]"):
        nn.SyncBatchNorm(4)(sorus.ones(2, 3))


def test_threads_can_join_by_themselves():
    sums = []

    def rank(r: int) -> None:
        dist.init_process_group("threads", init_method="tcp://here:1", rank=r, world_size=2)
        t = sorus.tensor([r + 1])
        dist.all_reduce(t)
        sums.append((int(t), dist.get_backend()))
        dist.barrier()
        dist.destroy_process_group()

    threads = [threading.Thread(target=rank, args=(r,)) for r in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sums == [(3, "threads")] * 2


def test_an_error_of_one_thread_is_raised():
    def rank(r: int) -> None:
        if r == 1:
            raise KeyError("lost")
        dist.barrier()

    with pytest.raises((KeyError, dist.DistBackendError), match="lost"):
        dist.run_threads(rank, 3)


def test_without_a_world():
    with pytest.raises(ValueError, match="init_process_group"):
        dist.all_reduce(sorus.ones(2))
    with pytest.raises(ValueError, match="sorus run"):
        dist.init_process_group()
    with pytest.raises(ValueError, match="no backend 'nccl'"):
        dist.init_process_group("nccl", rank=0, world_size=1)
    dist.init_process_group("shm", init_method=f"tcp://single:{os.getpid()}", rank=0, world_size=1)
    try:
        t = sorus.ones(2)
        dist.all_reduce(t)
        assert t.tolist() == [1, 1] and dist.get_rank() == 0
        with pytest.raises(RuntimeError, match="world already"):
            dist.init_process_group(rank=0, world_size=1)
        with pytest.raises(ValueError, match="no reduction 'mean'"):
            dist.all_reduce(t, op="mean")
    finally:
        dist.destroy_process_group()


def test_hooks_of_leaves_come_as_soon_as_their_gradient_is_there():
    order: list = []
    a, b = sorus.ones(2, requires_grad=True), sorus.ones(2, requires_grad=True)
    a.register_hook(lambda g: order.append("grad a"))
    a.register_post_accumulate_grad_hook(lambda t: order.append(("a", t.grad.tolist())))
    handle = b.register_post_accumulate_grad_hook(lambda t: order.append(("b", t.grad.tolist())))
    middle = a * 2
    middle.register_hook(lambda g: order.append("middle"))
    (middle * b).sum().backward()
    assert order == [("b", [2, 2]), "middle", "grad a", ("a", [2, 2])]
    handle.remove()
    order.clear()
    (a * b).sum().backward()
    assert order == ["grad a", ("a", [3, 3])]
    with pytest.raises(RuntimeError, match="leaf"):
        middle.register_post_accumulate_grad_hook(print)


# ---- the launcher


@pytest.fixture
def script(tmp_path: Path):
    def write(text: str) -> str:
        path = tmp_path / "script.py"
        # Its rank, of `sorus run` or mpirun.
        rank = "rank = int(os.environ.get('RANK') or os.environ['OMPI_COMM_WORLD_RANK'])"
        path.write_text(f"import os, sys, time, signal\n{rank}\n{text}")
        return str(path)

    return write


# The script leaves the time of the failure in a file: how long a loaded machine takes to start it does not matter.
FAILS_NOW = "open(__file__ + '.time', 'w').write(str(time.monotonic()))\n"


def ended_soon_after_failure(path: str) -> bool:
    return time.monotonic() - float(Path(path + ".time").read_text()) < 15


JOIN = "import sorus, sorus.distributed as dist\ndist.init_process_group()\nt = sorus.ones(3)\ndist.all_reduce(t)\n"


def test_run_prefixes_lines_and_passes_arguments(script):
    done = sorus_run("-n", "2", "--prefix", "--json", script("print('hello', sys.argv[1:], os.environ['OMP_NUM_THREADS'])"),
                     "--x", "1")  # fmt: skip
    lines = sorted(done.stdout.splitlines())
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    assert done.returncode == 0, done.stderr
    assert lines[:2] == [f"[{r}] hello ['--x', '1'] {os.environ.get('OMP_NUM_THREADS', threads)}" for r in range(2)]
    assert json.loads(lines[2]) == {"status": 0, "ranks": 2, "failure": None}


def test_lines_of_ranks_that_share_a_pipe_stay_whole(script):
    done = sorus_run("-n", "3", script(
        "for i in range(400):\n    for part in 'abcdefgh':\n        os.write(1, f'{rank}{part}'.encode())\n    os.write(1, b'\\n')\n"
        "os.write(1, b'no end')\n"
    ))  # fmt: skip
    lines = sorted(done.stdout.splitlines())
    wholes = ["".join(f"{rank}{part}" for part in "abcdefgh") for rank in range(3) for _ in range(400)]
    assert lines == [*wholes, *["no end"] * 3]


def test_run_names_mistakes(tmp_path):
    done = sorus_run("-n", "0", __file__)
    assert done.returncode == 2 and "at least one rank" in done.stderr
    done = sorus_run("-n", "2", str(tmp_path / "missing.py"))
    assert done.returncode == 2 and "no such file" in done.stderr


@pytest.mark.parametrize(("how", "status", "message"), [
    ("os.kill(os.getpid(), signal.SIGKILL)", 137, "was killed by SIGKILL"),
    ("sys.exit(3)", 3, "ended with status 3"),
    ("raise KeyError('lost it')", 1, "failed: KeyError: 'lost it'"),
])  # fmt: skip
def test_a_dead_rank_ends_all(script, how, status, message):
    path = script(
        JOIN + f"if rank == 1:\n    {FAILS_NOW}    {how}\ntime.sleep(60) if rank == 2 else dist.barrier()\n"
    )
    done = sorus_run("-n", "3", path)
    assert ended_soon_after_failure(path)
    assert done.returncode == status, done.stderr
    assert "rank 1" in done.stderr and message in done.stderr
    assert "last operation: all_reduce of 3 float32" in done.stderr, done.stderr
    assert not is_running(path)


def test_a_rank_that_hangs_ends_all(script):
    path = script(JOIN + f"if rank == 0:\n    {FAILS_NOW}    time.sleep(60)\ndist.barrier()\n")
    done = sorus_run("-n", "2", path, SORUS_HANG_SECONDS="1")
    assert ended_soon_after_failure(path)
    assert done.returncode != 0
    assert "rank 0" in done.stderr and "hangs" in done.stderr, done.stderr
    assert not is_running(path)


@needs_mpi
def test_a_stopped_rank_ends_all_under_mpirun(script):
    stops = "os.kill(os.getpid(), signal.SIGSTOP)"
    path = script(JOIN + f"if rank == 1:\n    {FAILS_NOW}    {stops}\ndist.barrier()\n")
    done = mpirun(3, path, SORUS_HANG_SECONDS="1")
    assert ended_soon_after_failure(path)
    assert done.returncode != 0
    assert "rank 1" in done.stderr and "hangs" in done.stderr, done.stderr
    assert not is_running(path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_or_killed_launcher_leaves_nothing(script, number):
    path = script("import os, subprocess\nos.write(1, b'ready\\n')\ntime.sleep(60)\n")
    job = subprocess.Popen(
        [sys.executable, "-m", "sorus.cli", "run", "-n", "2", path], stdout=subprocess.PIPE, text=True
    )
    assert job.stdout is not None
    assert [job.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
    job.send_signal(number)
    status = job.wait(timeout=20)
    assert status == (130 if number == signal.SIGINT else -9)
    until = time.monotonic() + 5
    while is_running(path) and time.monotonic() < until:
        time.sleep(0.05)
    assert not is_running(path)


@pytest.mark.parametrize("options", [[], ["--fsdp"]])
def test_the_example_learns(options):
    example = Path(__file__).resolve().parents[2] / "examples" / "train_distributed.py"
    done = sorus_run("-n", "2", str(example), "--steps", "60", *options)
    assert done.returncode == 0, done.stderr
    losses = [float(line.split()[-1]) for line in done.stdout.splitlines()]
    assert len(losses) == 2 and losses[1] < 0.6 * losses[0]
