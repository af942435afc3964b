"""Steps compiled for meshes, and the tensors and arrangements they are made of."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from sorus.distributed import DeviceMesh, init_device_mesh
from sorus.distributed.arrangement import Arrangement, read_pins
from sorus.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from sorus.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

import sorus
from sorus import nn

sys.path.insert(0, str(Path(__file__).parent / "rank_cases"))

import plans


def train(mesh=None, prepare=None, steps=3, **options):
    sorus.manual_seed(1)
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))
    if prepare:
        prepare(model)
    optimizer = sorus.optim.AdamW(model.parameters(), lr=0.05)
    loss_of = nn.CrossEntropyLoss()

    def step(x, y):
        optimizer.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    compiled = sorus.compile(step, mesh=mesh, **options) if mesh is not None or options else sorus.compile(step)
    losses = []
    for i in range(steps):
        sorus.manual_seed(i + 10)
        x, y = sorus.randn(16, 8), sorus.arange(16) % 4
        losses.append(compiled(x, y).item())
    return losses, [p.detach().clone() for p in model.parameters()], compiled


@pytest.mark.parametrize("zero", [0, 1, 3])
def test_data_parallel_training_is_that_of_one_device(zero):
    one, weights, _ = train()
    many, found, step = train(init_device_mesh("cpu", (4,), mesh_dim_names=("dp",)), data="dp", zero=zero)
    assert many == pytest.approx(one, rel=1e-5)
    for a, b in zip(found, weights):
        assert (a - b).abs().max().item() < 1e-4
    assert ("reduce_scatter" if zero else "all_reduce") in step.rank_graph(1)


def test_batches_that_do_not_divide_are_shared_all_the_same():
    one, weights, _ = train()
    for zero in (0, 3):
        many, found, step = train(init_device_mesh("cpu", (3,), mesh_dim_names=("dp",)), data="dp", zero=zero)
        assert many == pytest.approx(one, rel=1e-5)
        assert all((a - b).abs().max().item() < 1e-4 for a, b in zip(found, weights))
    assert "f32[6, 8]" in step.rank_graph(0) and "f32[5, 8]" in step.rank_graph(2), "16 samples are 6, 5 and 5"


def step_of(model, optimizer):
    def step(x, y):
        optimizer.zero_grad()
        loss = model.loss(x, y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def gpt_losses(mesh=None, mark=False, **options):
    from sorus.distributed.tensor import Shard

    from sorus.models import GPT

    sorus.manual_seed(2)
    model = GPT(1001, 9, 2, 3, 12)
    if mark:
        distribute_tensor(model.wte.weight, mesh, [Shard(0)])
    optimizer = sorus.optim.AdamW(model.parameters(), lr=0.05)

    step = sorus.compile(step_of(model, optimizer), **({"mesh": mesh} if mesh is not None else {}), **options)
    ids = (sorus.arange(4 * 10) * 7 % 1001).reshape(4, 10)
    return [step(ids[:, :-1], ids[:, 1:]).item() for _ in range(3)], step


def test_sequences_and_vocabularies_are_split():
    one, _ = gpt_losses()
    mesh = init_device_mesh("cpu", (2,), mesh_dim_names=("cp",))
    many, step = gpt_losses(mesh, context="cp")
    assert many == pytest.approx(one, rel=1e-5)
    assert "f32[4, 9, 12]" not in step.rank_graph(0), "no rank has all tokens"
    mesh = init_device_mesh("cpu", (2,), mesh_dim_names=("tp",))
    many, step = gpt_losses(mesh, mark=True)
    assert many == pytest.approx(one, rel=1e-5)
    # A rank may trade its words for its samples; it never has all words of all samples from others.
    calls = [line.split(" : ")[-1] for line in step.rank_graph(0).splitlines() if "= all_" in line]
    assert calls and not any("[4, 9, 1001]" in result for result in calls), "logits are never whole"
    assert "[4, 9, 1001]" not in step.rank_graph(0), "nor is their gradient"


def losses_and_weights(mesh, **options):
    from sorus.models import GPT

    sorus.manual_seed(2)
    model = GPT(48, 8, 2, 4, 16)
    optimizer = sorus.optim.AdamW(model.parameters(), lr=0.05)

    step = sorus.compile(step_of(model, optimizer), mesh=mesh, **options)
    ids = (sorus.arange(4 * 9) * 7 % 48).reshape(4, 9)
    losses = [step(ids[:, :-1], ids[:, 1:]).item() for _ in range(3)]
    return losses, [p.detach().tolist() for p in model.parameters()], step


def test_zero_cuts_along_the_context_axis_too():
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "cp"))
    losses, weights, step = losses_and_weights(mesh, data="dp", context="cp")
    sums = [line for line in step.rank_graph(0).splitlines() if "= all_reduce" in line]
    assert any("/dp+cp" in line and "f32[16, 64]" in line for line in sums), "gradients: over both axes at once"
    found, kept, step = losses_and_weights(mesh, data="dp", context="cp", zero=1)
    assert found == losses and kept == weights, "to the bit"
    assert "[S(0), S(0)]" in step._newest().layouts(), "each of the four ranks has a quarter"
    # Where parameters come in blocks, activations may be dealt out in another way: sums of the loss in another order.
    found, kept, step = losses_and_weights(mesh, data="dp", context="cp", zero=3)
    assert found == pytest.approx(losses, rel=1e-5)
    gathers = [line for line in step.rank_graph(1).splitlines() if "= all_gather" in line]
    assert any("/dp+cp" in line for line in gathers), "and is gathered from all of them at once"
    mesh = init_device_mesh("cpu", (3,), mesh_dim_names=("cp",))
    losses, weights, _ = losses_and_weights(mesh, context="cp")
    found, kept, step = losses_and_weights(mesh, context="cp", zero=1)
    assert found == losses and kept == weights
    assert "reduce_scatter" in step.rank_graph(1)


def test_a_profile_tells_ranks_apart_and_what_they_wait_for():
    _, _, step = train(init_device_mesh("cpu", (2,), mesh_dim_names=("dp",)), data="dp")
    x, y = sorus.randn(16, 8), sorus.arange(16) % 4
    with sorus.profile() as p:
        step(x, y)
    events = p.events()
    assert len({e.lane for e in events if e.kind == "loop"}) == 2, "a lane for each rank"
    sums = [e for e in events if e.kind == "exchange"]
    assert sums and all(e.name == "all_reduce" and e.bytes > 0 for e in sums)
    assert p.exposed_communication == pytest.approx(sum(e.seconds for e in sums))
    assert "all_reduce  (exchange)" in p.table()


def test_marked_parameters_and_everything_else_follows():
    mesh = DeviceMesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))

    def prepare(model):
        parallelize_module(model, mesh["tp"], {"0": ColwiseParallel(), "2": RowwiseParallel()})

    one, _, _ = train()
    many, _, step = train(mesh, prepare, data="dp")
    assert many == pytest.approx(one, rel=1e-5)
    assert "f32[8, 8]" in step.rank_graph(0), "half of the first layer's outputs"
    assert "[R, S(0)]" in step._newest().layouts()


def test_pipelines_and_micro_batches():
    one, _, _ = train()
    micro, weights, _ = train(micro_batches=4)
    assert micro == pytest.approx(one, rel=1e-5)
    for options in (
        {"pipeline": 2},
        {"pipeline": 2, "schedule": "gpipe"},
        {"pipeline": 2, "schedule": "zero-bubble"},
        {"pipeline": 2, "recompute": True},
    ):
        many, found, step = train(micro_batches=4, **options)
        assert many == micro, options
        assert all((a == b).all().item() for a, b in zip(found, weights)), options
    assert "send" in step.rank_program(0)
    _, _, step = train(micro_batches=4, pipeline=2, schedule="zero-bubble")
    turns = [line.split()[1:] for line in step.rank_program(1).splitlines() if line.startswith("run")]
    at = {(what, int(micro)): i for i, (what, _, _, _, micro) in enumerate(t for t in turns if len(t) == 5)}
    assert at["backward", 0] < at["backward", 1] < at["weights", 0], "weights wait while a gradient is handed on"


def test_gradients_of_micro_batches_are_summed_before_ranks_exchange_them():
    mesh = init_device_mesh("cpu", (2,), mesh_dim_names=("dp",))
    exchanged, losses = [], []
    for zero in (0, 1):
        for micro_batches in (1, 4):
            found, _, step = train(mesh, data="dp", zero=zero, micro_batches=micro_batches)
            losses.append(found)
            x, y = sorus.randn(16, 8), sorus.arange(16) % 4
            with sorus.profile() as p:
                step(x, y)
            exchanged.append(sum(e.bytes for e in p.events() if e.kind == "exchange"))
    assert exchanged[0] == exchanged[1] > 0 and exchanged[2] == exchanged[3] > 0, "once a step"
    assert losses[1] == losses[3] == pytest.approx(losses[0], rel=1e-5)


def test_a_number_does_not_depend_on_where_stages_begin():
    """Compiled loops join other operators in each stage; what they add to a product keeps no more digits for that."""
    for name, stages in (("mixture", 2), ("resnet", 3)):
        micro, weights = plans.train(name, micro_batches=3)
        many, found = plans.train(name, micro_batches=3, pipeline=stages)
        assert many == micro, name
        assert all((a == b).all().item() for a, b in zip(found, weights)), name


def test_a_dtensor_is_whole_and_knows_its_blocks():
    mesh = init_device_mesh("cpu", (2, 3), mesh_dim_names=("a", "b"))
    t = sorus.arange(24.0).reshape(4, 6)
    d = distribute_tensor(t, mesh, [Shard(0), Shard(1)])
    assert isinstance(d, DTensor) and d.placements == (Shard(0), Shard(1)) and d.device_mesh == mesh
    assert d.shape == (4, 6) and (d.full_tensor() == t).all().item()
    assert d.to_local(5).tolist() == [[16.0, 17.0], [22.0, 23.0]]
    moved = d.redistribute(placements=[Shard(1), Replicate()])
    assert moved.to_local(3).tolist() == t[:, 3:].tolist()
    uneven = distribute_tensor(t, mesh, [Replicate(), Shard(0)])
    assert [uneven.to_local(r).shape[0] for r in range(3)] == [2, 1, 1]
    with pytest.raises(ValueError, match="dimension 0 of size 4 cannot be cut into 6 blocks"):
        distribute_tensor(t, mesh, [Shard(0), Shard(0)])
    with pytest.raises(ValueError, match="partial along 'a'"):
        distribute_tensor(t, mesh, [Partial(), Replicate()]).to_local()


def test_meshes():
    mesh = init_device_mesh("cpu", (2, 4), mesh_dim_names=("dp", "tp"))
    assert mesh.size() == 8 and mesh.size("tp") == 4 and mesh.coordinate(6) == (1, 2)
    assert mesh["tp"].shape == (4,)
    for wrong, message in (
        (lambda: DeviceMesh("cuda", (2,)), "CPUs only"),
        (lambda: DeviceMesh("cpu", (0,)), "at least one rank"),
        (lambda: DeviceMesh("cpu", (2, 2), mesh_dim_names=("a", "a")), "name of its own"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()
    with pytest.raises(KeyError, match="no axis 'pp'"):
        mesh["pp"]


def test_what_cannot_be_cut_says_so():
    with pytest.raises(ValueError, match="a batch of 16 cannot be split among 17 ranks along 'dp'"):
        train(init_device_mesh("cpu", (17,), mesh_dim_names=("dp",)), data="dp")
    with pytest.raises(ValueError, match="a sequence of 8 cannot be split among 9 ranks along 'cp'"):
        train(init_device_mesh("cpu", (9,), mesh_dim_names=("cp",)), context="cp")
    with pytest.raises(ValueError, match="along 'dp' the batch is cut already"):
        train(init_device_mesh("cpu", (2,), mesh_dim_names=("dp",)), data="dp", context="dp")
    with pytest.raises(ValueError, match="micro-batches"):
        train(micro_batches=3)
    with pytest.raises(ValueError, match="needs the axis"):
        train(init_device_mesh("cpu", (2,)), zero=1)
    with pytest.raises(ValueError, match="known are: 1f1b"):
        train(micro_batches=2, pipeline=2, schedule="zigzag")


@pytest.mark.parametrize(
    ("devices", "batch", "fix", "expected"),
    [
        (4, 12, [], "dp 4"),
        (4, 12, ["dp=2,zero=3"], "dp 2 x tp 2, ZeRO 3"),
        (4, 12, ["cp=2"], "dp 2 x cp 2"),
        (4, 16, ["pp=4"], "pp 4, 8 micro-batches, 1f1b"),
        (4, 16, ["pp=2,chunks=2"], "dp 2 x pp 2, 4 micro-batches, interleaved of 2 chunks"),
        (7, 12, [], "dp 7"),
    ],
)
def test_arrangements(devices, batch, fix, expected):
    assert str(Arrangement.of(devices, batch, fix)) == expected


@pytest.mark.parametrize(
    ("devices", "batch", "fix", "message"),
    [
        (7, 24, ["dp=7,micro=2"], "batch of 24 cannot be shared equally by 7 .* dp=6, or a batch of 21"),
        (4, 2, [], "batch of 2 is smaller than the 4 data-parallel ranks, by 2"),
        (4, 12, ["tp=3"], "4 ranks cannot be arranged as tp=3.*--devices 3 would do"),
        (4, 12, ["dp=2,tp=1,pp=1"], "that makes 2; --devices 2 would do"),
        (4, 12, ["dp=4,dp=2"], "dp is both 4 and 2"),
        (4, 12, ["zero=7"], "'7' is not a whole number from 0 to 3"),
        (4, 12, ["shards=1"], "known are dp"),
        (4, 12, ["pp=4,micro=5"], "cannot be cut into 5 micro-batches; the nearest that fit: micro=4"),
        (4, 12, ["pp=4,zero=1"], "only one; pin dp=2"),
        (2, 12, ["pp=2,chunks=2,schedule=gpipe"], "contradicts"),
        (2, 12, ["pp=2,recompute=1,schedule=zero-bubble"], "recompute contradicts schedule=zero-bubble"),
    ],
)
def test_what_cannot_be_arranged_says_so(devices, batch, fix, message):
    with pytest.raises(ValueError, match=message):
        Arrangement.of(devices, batch, fix)


def test_pins():
    assert read_pins(["dp=2, zero=1", "schedule=gpipe"]) == {"dp": 2, "zero": 1, "schedule": "gpipe"}


PROCESSES = """
import json, sys
import sorus
from sorus import nn
from sorus.distributed import init_device_mesh

sorus.manual_seed(1)
model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))
optimizer = sorus.optim.AdamW(model.parameters(), lr=0.05)
loss_of = nn.CrossEntropyLoss()

def step(x, y):
    optimizer.zero_grad()
    loss = loss_of(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.detach()

if sys.argv[1] == "dp":
    step = sorus.compile(step, mesh=init_device_mesh("cpu", (2,), mesh_dim_names=("dp",)), data="dp", zero=3)
else:
    step = sorus.compile(step, pipeline=2, micro_batches=4)
losses = []
for i in range(3):
    sorus.manual_seed(i + 10)
    losses.append(step(sorus.randn(16, 8), sorus.arange(16) % 4).item())
step.gather()
print(json.dumps([losses, [p.detach().abs().sum().item() for p in model.parameters()]]), flush=True)
"""


@pytest.mark.parametrize("kind", ["dp", "pp"])
def test_ranks_that_are_processes(kind, tmp_path):
    """The same program under `sorus run`: every process has all losses, and after gather() all weights."""
    (tmp_path / "program.py").write_text(PROCESSES)
    done = subprocess.run([sys.executable, "-m", "sorus.cli", "run", "-n", "2", str(tmp_path / "program.py"), kind],
                          capture_output=True, text=True, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stderr
    one, weights, _ = train()
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[[")]
    assert len(found) == 2 and found[0] == found[1]
    assert found[0][0] == pytest.approx(one, rel=1e-5)
    assert found[0][1] == pytest.approx([w.abs().sum().item() for w in weights], rel=1e-4)
