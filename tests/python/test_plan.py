"""sorus plan: search, certificate, explanation, files."""

import itertools
import json
from pathlib import Path

import pytest
from sorus._core import _planning
from sorus.cli import CommandError, main
from sorus.cli.plan import fixed, make_plan, traced_batch
from sorus.cli.plan_export import export
from sorus.distributed.arrangement import Arrangement

import sorus
from sorus.models import presets


def test_a_small_space_is_searched_to_the_end():
    report = make_plan("gpt2", "dgx-a100", devices=8, batch=32, seq=256)
    assert report["complete"] and report["gap"] <= 0.03
    assert 0 < report["lower_bound_s"] <= report["step_time_s"]
    assert report["choice"]["dp"] * report["choice"]["tp"] * report["choice"]["pp"] == 8
    # Brute force: every combination pinned alone is not faster.
    best = report["step_time_s"]
    for tp, pp, zero, recompute in itertools.product([1, 2, 4], [1, 2, 4], [0, 1], [0, 1, 2]):
        pinned = make_plan("gpt2", "dgx-a100", 8, 32, 256, {"tp": tp, "pp": pp, "zero": zero, "recompute": recompute})
        assert pinned.get("step_time_s", best) >= best * (1 - 1e-9)


def test_the_published_plan_is_in_the_space_and_not_faster():
    free = make_plan("gpt3-175b", "dgx-a100", 1024, 1536)
    # Narayanan et al. 2021: 8-way tensor, 16-way pipeline parallelism, all activations made again.
    hand = make_plan("gpt3-175b", "dgx-a100", 1024, 1536, fix={"tp": 8, "pp": 16, "recompute": 2, "sp": 0, "zero": 0})
    assert free["step_time_s"] <= hand["step_time_s"]
    assert free["memory_gb"] <= 80 and free["gap"] <= 0.03
    assert {f["family"] for f in free["families"]}


@pytest.mark.parametrize("arrangement", [
    {"tp": 8, "pp": 2, "dp": 16, "global_batch": 1024, "micro_batch": 4, "recompute": "full"},
    {"tp": 4, "pp": 4, "dp": 16, "global_batch": 1024, "micro_batch": 2, "recompute": "selective", "seq_parallel": 1, "interleave_v": 5},
    {"tp": 1, "pp": 1, "dp": 256, "global_batch": 512, "micro_batch": 2, "recompute": "full", "zero_stage": 3},
])  # fmt: skip
def test_at_least_as_fast_as_a_published_arrangement(arrangement):
    row = {"layers": 40, "hidden": 6144, "heads": 48, "seq_len": 2048, "vocab": 51200, "precision": "fp16",
           "device": "A100-SXM-80GB"} | arrangement  # fmt: skip
    answer = json.loads(_planning.compare_published(json.dumps(row), ""))
    alone = json.loads(_planning.simulate_published(json.dumps(row), ""))
    assert answer["published"]["iter_time_s"] == pytest.approx(alone["iter_time_s"], rel=1e-6)
    assert answer["fits"] and answer["complete"]
    found = answer["found"]
    assert found["lower_bound_s"] <= found["iter_time_s"] <= answer["published"]["iter_time_s"]
    assert (
        "one layer" in json.loads(_planning.compare_published(json.dumps(row | {"kind": "layer_time"}), ""))["note"]
    )


def test_tokens_are_shared_where_that_pays():
    fix = {"tp": 1, "pp": 1, "micro_batch": 1, "recompute": 2, "zero": 3, "offload": 0}
    report = make_plan("llama3-8b", "dgx-h100", devices=16, batch=4, seq=32768, fix=fix)
    assert report["choice"]["cp"] == 4 and report["choice"]["dp"] == 4
    axes = {a["name"]: a for a in report["plan"]["mesh"]}
    assert axes["cp"]["kind"] == "sequence" and axes["cp"]["size"] == 4
    assert "--context-parallel-size 4" in export(report, "megatron")
    assert "context_parallel_degree = 4" in export(report, "torchtitan")
    assert "context parallelism of 4" in export(report, "deepspeed") and "4 ranks" in export(report, "devicemesh")
    # A short sequence is not shared unless that is asked for.
    assert make_plan("gpt2", "dgx-a100", 8, 8, 256, {"tp": 1})["choice"]["cp"] == 1
    assert make_plan("gpt2", "dgx-a100", 8, 8, 256, {"cp": 2, "tp": 1})["choice"]["cp"] == 2


def test_a_plan_that_shares_tokens_is_arranged():
    fix = {"cp": 2, "dp": 2, "tp": 1, "pp": 1, "ep": 1, "sp": 0, "offload": 0, "recompute": 0, "zero": 0}
    plan = make_plan("gpt2", "cpu", 4, 8, 256, fix)["plan"]
    a = Arrangement.of_plan(plan, 8, "plan")
    assert (a.dp, a.cp, a.tp, a.devices) == (2, 2, 1, 4) and a.order == ("dp", "cp")
    assert a.options()["context"] == "cp"


def test_every_matrix_of_a_layer_is_split():
    plan = make_plan("gpt3-175b", "dgx-a100", 64, 64, fix={"tp": 8})["plan"]
    marks = {m["name"]: m["on"]["tp"] for m in plan["marks"]}
    # Column splits where heads and inner width begin; behind them a row split and a gathered column split cost the same.
    assert marks["blocks.5.attention.qkv.weight"] == "S(0)"
    assert marks["blocks.5.feed_forward.up.weight"] == "S(0)"
    assert {marks[f"blocks.5.{n}.weight"] for n in ("attention.proj", "feed_forward.down")} <= {"S(0)", "S(1)"}
    assert marks["blocks.5.attention.proj.weight"] == marks["blocks.90.attention.proj.weight"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["gpt3-175b", "--devices", "7", "--batch", "64"], "no plan fits"),
        (["gpt2", "--devices", "8", "--batch", "64", "--fix", "tp=3"], "tp = 3 does not divide the 8 devices"),
        (
            ["gpt2", "--devices", "8", "--batch", "4", "--fix", "dp=8"],
            "dp = 8 does not divide the batch of 4, which has 4 samples too few; the nearest that does is 4, or a batch of 8",
        ),
        (["gpt2", "--devices", "8", "--batch", "64", "--fix", "tp=4,pp=4"], "need 16 devices, there are 8"),
        (["gpt2", "--devices", "8", "--batch", "64", "--fix", "speed=1"], "--fix speed"),
        (["gpt2", "--devices", "8", "--batch", "64", "--fix", "ep=2"], "ep = 2, but the model has no experts"),
        (["moe-8x7b", "--devices", "64", "--batch", "64", "--fix", "ep=3"], "ep = 3 does not divide the 8 experts"),
        (["moe-8x7b", "--devices", "64", "--batch", "64", "--fix", "ep=8,dp=4"], "ep = 8 does not divide the 4 data"),
        (["resnet50", "--devices", "8", "--batch", "64", "--fix", "cp=2"], "needs all tokens of a sample at once"),
        (["gpt2", "--devices", "48", "--batch", "48", "--fix", "cp=3"], "cp = 3 does not divide the 1024 tokens"),
        (["gpt2", "--devices", "8", "--batch", "64", "--fix", "pp=4", "--fix", "chunks=7"], "are 28 stages, but"),
        (["gpt2", "--devices", "8", "--batch", "64", "--fix", "schedule=fast"], "expected one of none, gpipe"),
        (["gtp2"], "there is no preset model 'gtp2'"),
        (["gpt2", "--cluster", "dgx-z9"], "neither a preset cluster"),
        (["missing.py:step"], "there is no such file"),
    ],
)
def test_what_cannot_be_met_says_why(arguments, reason, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["plan", *arguments]) in (1, 2)
    assert reason in capsys.readouterr().err


def test_a_prime_number_of_devices_names_what_would_fit():
    report = make_plan("gpt3-175b", "dgx-a100", 1021, 1536)
    assert "1021 devices cannot share a batch of 1536" in report["problem"]
    assert 1013 <= int(report["would_fit"]["change"].removesuffix(" devices")) < 1021


def test_too_little_memory_names_what_would_fit():
    report = make_plan("gpt3-175b", "dgx-a100", 8, 16)
    assert "no plan fits" in report["problem"] and "too much" in report["problem"]
    assert report["would_fit"]["memory_gb"] <= 80


def test_files_that_are_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert (
        main(["plan", "gpt2", "--devices", "8", "--batch", "32", "--seq", "256", "--fix", "pp=2", "--no-explain"])
        == 0
    )
    plan = json.loads(Path("plan.json").read_text())
    assert plan["format"] == "sorus-plan" and len(plan["stages"]) == 2 * plan["chunks"]
    assert plan["stages"][0]["end_node"] == plan["stages"][1]["first_node"]
    page = Path("plan.html").read_text()
    assert page.startswith("<!doctype html>") and "Memory over time" in page
    events = json.loads(Path("plan.trace.json").read_text())["traceEvents"]
    assert {e["tid"] for e in events} == {0, 1} and all(e["dur"] > 0 for e in events)
    assert "gap" in capsys.readouterr().out


def test_what_there_was_no_time_for_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["plan", "gpt2", "--devices", "8", "--batch", "32", "--seq", "256", "--time-limit", "0.000001"]) == 0
    said = "not known: the time limit was up"
    assert said in capsys.readouterr().out and said in Path("plan.html").read_text()
    # All that belongs to an answer keeps the limit, also where nothing fits and neighbours would be looked at.
    report = make_plan("gpt3-175b", "dgx-a100", 8, 16, time_limit=0.000001)
    assert "would_fit" not in report and "fits" in report["problem"]


def test_more_memory_is_never_said_to_be_slower():
    # The search with more memory is stopped before it has come to the plan that the first search found.
    report = make_plan("moe-8x7b", "dgx-a100", 2048, 2**20, 2048, time_limit=2, explain=True)
    (gain,) = (s["gain"] for s in report["sensitivity"] if s["what"] == "25% more memory")
    assert gain is None or gain >= 0


def test_exports_say_what_they_lose():
    report = make_plan("llama3-8b", "dgx-a100", 8, 32, None, {"pp": 2, "tp": 2, "schedule": 4, "sp": 1})
    assert "--tensor-model-parallel-size 2" in export(report, "megatron")
    assert "not expressed: the schedule zero-bubble" in export(report, "megatron")
    deepspeed = export(report, "deepspeed")
    config = json.loads(deepspeed)
    assert config["train_batch_size"] == 32 and any("2 pipeline stages" in line for line in config["not_expressed"])
    assert config["bf16"] == {"enabled": True} and "--bf16" in export(report, "megatron")
    assert "tensor_parallel_degree = 2" in export(report, "torchtitan")
    mesh = export(report, "devicemesh")
    assert "init_device_mesh" in mesh and "blocks.0.attention.qkv.weight" in mesh


@pytest.mark.parametrize("zero", [0, 1])
def test_exports_of_what_lies_on_the_host_are_what_programs_take(zero):
    report = make_plan("llama3-8b", "dgx-a100", 8, 32, None, {"pp": 1, "tp": 2, "offload": 1, "zero": zero})
    megatron, deepspeed = export(report, "megatron"), json.loads(export(report, "deepspeed"))
    # Megatron-LM refuses the one without the other two, DeepSpeed without ZeRO.
    assert ("--optimizer-cpu-offload --use-precision-aware-optimizer" in megatron) == (zero == 1)
    assert ("--use-distributed-optimizer" in megatron) == (zero == 1)
    assert ("offload_optimizer" in deepspeed["zero_optimization"]) == (zero == 1)
    if zero == 0:
        assert "not expressed: the optimizer on the host" in megatron
        assert any("optimizer on the host" in line for line in deepspeed["not_expressed"])


def test_exports_name_the_type_of_the_model():
    report = make_plan("resnet50", "dgx-a100", 8, 64) | {"dtype": "f32"}
    assert "--bf16" not in export(report, "megatron")
    assert not {"bf16", "fp16"} & json.loads(export(report, "deepspeed")).keys()
    assert 'mixed_precision_param = "float32"' in export(report, "torchtitan")
    assert "arithmetic in f16" in export(report | {"dtype": "f16"}, "torchtitan")


def test_any_batch_has_an_answer():
    fix = {"pp": 2, "tp": 1, "zero": 1, "micro_batch": 16, "schedule": 2, "recompute": 0, "offload": 0, "sp": 0}
    many, few = (make_plan("gpt2", "dgx-a100", 8, batch, 128, fix, families=False) for batch in (1 << 31, 1 << 20))
    choice = many["choice"]
    assert choice["dp"] * choice["micro_batch"] * choice["micro_batches"] == 1 << 31
    # As many times longer as there is more to do, but for what is once a step.
    assert many["step_time_s"] == pytest.approx(few["step_time_s"] * (1 << 11), rel=0.01)


def test_experts_are_dealt_out():
    free = make_plan("moe-8x7b", "dgx-a100", 64, 64)
    alone = [make_plan("moe-8x7b", "dgx-a100", 64, 64, fix={"ep": ep}) for ep in (1, 2, 4, 8)]
    assert free["step_time_s"] == pytest.approx(min(r["step_time_s"] for r in alone))
    report = make_plan("moe-8x7b", "dgx-a100", 64, 64, fix={"ep": 8, "tp": 2, "pp": 1, "zero": 1})
    choice, plan = report["choice"], report["plan"]
    assert (choice["dp"], choice["ep"], choice["tp"]) == (32, 8, 2)
    assert [(a["name"], a["kind"], a["size"]) for a in plan["mesh"]] == [
        ("pp", "pipeline", 1), ("dp", "data", 4), ("ep", "expert", 8), ("tp", "tensor", 2),
    ]  # fmt: skip
    marks = {m["name"]: m["on"] for m in plan["marks"]}
    assert all(marks[f"blocks.5.experts.{n}"]["ep"] == "S(0)" for n in ("gate", "up", "down"))
    assert "ep" not in marks.get("blocks.5.attention.qkv.weight", {})
    # Each device has an eighth of the experts of each half of a matrix, and half of all else.
    whole = make_plan("moe-8x7b", "dgx-a100", 64, 64, fix={"ep": 1, "tp": 2, "pp": 1, "zero": 1}, memory_gb=1000)
    kept = [r["plan"]["stages"][0]["memory_bytes"]["parameters"] for r in (report, whole)]
    experts = 32 * 8 * 3 * 4096 * 14336 * 2 / 2
    assert kept[1] - kept[0] == pytest.approx(experts * 7 / 8, rel=1e-6)
    assert "--expert-model-parallel-size 8" in export(report, "megatron")
    assert "ep_size=8" in export(report, "deepspeed")
    assert "expert_parallel_degree = 8" in export(report, "torchtitan")
    mesh = export(report, "devicemesh")
    assert "mesh['ep', 'tp']" in mesh and "all-to-alls among 8 ranks" in mesh
    stages = [stage | {"recompute": "none"} for stage in plan["stages"]]
    made = Arrangement.of_plan(plan | {"sequence_parallel": False, "stages": stages}, 64, "plan.json")
    assert (made.dp, made.ep, made.tp) == (4, 8, 2)
    assert made.marks and made.marks["blocks.5.experts.up"]["ep"] == "S(0)"


def test_slow_links_are_avoided_or_priced():
    two_nodes = _planning.cluster_toml("dgx-a100").replace('name = "fabric"', 'name = "fabric"\ncount = 2')
    slow = two_nodes + '\n[[slow]]\ndevice = 9\nlevel = "fabric"\nfactor = 0.1\n'
    fix = {"tp": 1, "pp": 1, "zero": 0}
    plain, late = (make_plan("gpt2", c, 16, 32, 256, fix) for c in (two_nodes, slow))
    assert late["time"]["data communication"] > 3 * plain["time"]["data communication"]
    assert late["plan"]["notes"] == [
        "device 9 has 0.1 of the speed of links across the fabric; all that meet it wait for it"
    ]
    assert sorted(late["plan"]["device_of_rank"]) == list(range(16))
    # The other node alone does not meet it.
    one = make_plan("gpt2", slow, 8, 16, 256, fix)
    assert one["step_time_s"] == make_plan("gpt2", two_nodes, 8, 16, 256, fix)["step_time_s"]
    assert one["plan"]["notes"] == [] and max(one["plan"]["device_of_rank"]) == 7


def test_any_program_can_be_planned(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import sorus\nfrom sorus.models.presets import Step\n"
        "def step():\n"
        "    build = lambda: sorus.nn.Sequential(sorus.nn.Linear(64, 256), sorus.nn.ReLU(), sorus.nn.Linear(256, 8))\n"
        "    loss = lambda m, x, y: sorus.nn.functional.cross_entropy(m(x), y)\n"
        "    return Step('mlp', build, loss, lambda b: [([b, 64], sorus.float32), ([b], sorus.int64)], sorus.float32)\n"
    )
    report = make_plan(f"{tmp_path}/mine.py:step", "cpu", devices=4, batch=64)
    assert report["parameters"] == 64 * 256 + 256 + 256 * 8 + 8
    assert report["step_time_s"] > 0


@pytest.mark.parametrize("name", ["resnet50", "vit-huge", "dlrm", "unet", "moe-8x7b", "llama3-8b"])
def test_presets(name):
    report = make_plan(name, "dgx-a100", 16, 128)
    assert report["memory_gb"] <= 80 and report["gap"] <= 0.03


def test_preset_sizes():
    sizes = {"gpt3-175b": 174.6, "gpt-1t": 1008, "llama3-8b": 8.03, "llama3-70b": 70.6, "llama3-405b": 405.9}
    for name, billions in sizes.items():
        assert presets.preset(name).trace(1).parameters / 1e9 == pytest.approx(billions, rel=0.01)
    assert presets.preset("resnet50").trace(1).parameters == 25_557_032


def test_a_network_of_which_nothing_repeats():
    report = make_plan("resnet152-random", "dgx-a100", 256, 4096)
    assert report["step_time_s"] > 0 and report["gap"] <= 0.03


def test_meta_has_no_memory():
    with presets.meta():
        layer = sorus.nn.Linear(1_000_000, 1_000_000)
    assert layer.weight.shape == (1_000_000, 1_000_000)
    assert sorus.nn.Linear(2, 3).weight.sum().item() == pytest.approx(
        sorus.nn.Linear(2, 3).weight.sum().item(), abs=10
    )


def test_small_things():
    assert fixed(["tp=8,pp=2", "recompute=full"]) == {"tp": 8, "pp": 2, "recompute": 2}
    with pytest.raises(CommandError, match="expected NAME=VALUE"):
        fixed(["tp"])
    assert traced_batch(1536, 16) == 16 and traced_batch(7, 16) == 1
