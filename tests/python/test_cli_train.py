"""sorus train gpt: what it prints and writes, kills and resumes, mistakes."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sorus.cli import main
from sorus.cli.report import Csv
from sorus.cli.training import Schedule

import sorus

SMALL = ["--layers", "1", "--heads", "2", "--width", "16", "--context", "16", "--batch", "4", "--vocab", "300",
         "--warmup", "5", "--val-every", "10"]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with some text in it, where commands run."""
    text = tmp_path / "text"
    text.mkdir()
    for i in range(8):
        (text / f"{i}.txt").write_text(
            "".join(f"line {j} of {i}: {j * j % (i + 7)} is a number\n" for j in range(80))
        )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SORUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    return tmp_path


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "sorus.cli", *arguments]


def train(*arguments: str, fails: bool = False) -> subprocess.CompletedProcess:
    done = subprocess.run(command("train", "gpt", *arguments), capture_output=True, text=True)
    assert (done.returncode != 0) == fails, f"{done.stdout}\n{done.stderr}"
    return done


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def assert_same_losses(many: list[dict], one: list[dict]) -> None:
    found, expected = ([e["loss"] for e in run if "loss" in e] for run in (many, one))
    assert expected and found == pytest.approx(expected, rel=1e-4)


def losses(run: Path) -> list[tuple]:
    """What of the CSV does not depend on the clock."""
    return [tuple(line.split(",")[:4]) for line in (run / "loss.csv").read_text().splitlines()[1:]]


def weights(run: Path) -> dict[str, bytes]:
    state = sorus.load(max((run / "checkpoints").iterdir()))
    return {name: t.numpy().tobytes() for name, t in state["model"].items()}


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_a_killed_run_goes_on_with_the_same_numbers(folder: Path, mode: str) -> None:
    options = [*SMALL, "--data", "text", "--mode", mode, "--steps", "40", "--dropout", "0.1", "--json"]
    whole = lines(train(*options, "--out", "a").stdout)
    assert [entry["step"] for entry in whole] == [*range(1, 41), 40]
    assert [entry["step"] for entry in whole[:-1] if "val_loss" in entry] == [10, 20, 30, 40]
    assert all(entry["tokens_per_s"] > 0 for entry in whole)
    assert whole[39]["loss"] < whole[0]["loss"]

    with subprocess.Popen(command("train", "gpt", *options, "--out", "b", "--checkpoint-every", "6"),
                          stdout=subprocess.PIPE, text=True) as process:  # fmt: skip
        assert process.stdout
        for line in process.stdout:
            if json.loads(line)["step"] == 20:
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    resumed = lines(train("--resume", "b", "--json").stdout)
    assert 1 < resumed[0]["step"] <= 25 and resumed[-1]["step"] == 40

    assert losses(Path("b")) == losses(Path("a"))
    assert weights(Path("b")) == weights(Path("a"))
    by_step = {entry["step"]: entry["loss"] for entry in whole}
    assert all(by_step[entry["step"]] == entry["loss"] for entry in resumed)


def test_accumulated_batches_are_one_step(folder: Path) -> None:
    common = [*SMALL, "--data", "text", "--steps", "6", "--json"]
    one = lines(train(*common, "--batch", "8", "--mode", "eager", "--out", "a").stdout)
    two = lines(train(*common, "--batch", "4", "--grad-accum", "2", "--mode", "compiled", "--out", "b").stdout)
    assert [e["loss"] for e in two[:6]] == pytest.approx([e["loss"] for e in one[:6]], abs=1e-4)


def test_ctrl_c_saves_and_ends_the_run(folder: Path) -> None:
    with subprocess.Popen(command("train", "gpt", *SMALL, "--data", "text", "--minutes", "5", "--json", "--mode", "eager",
                                  "--out", "a"), stdout=subprocess.PIPE, text=True) as process:  # fmt: skip
        output: list[dict] = []
        assert process.stdout
        for line in process.stdout:
            output.append(json.loads(line))
            if len(output) == 7:
                process.send_signal(signal.SIGINT)
    assert process.returncode == 0
    last = output[-1]
    assert not last["finished"] and last["step"] >= 7
    assert sorus.load(last["checkpoint"])["step"] == last["step"]
    for name in ("loss.csv", "loss.png", "tokenizer.json", "run.json", "model/model.safetensors"):
        assert (Path("a") / name).stat().st_size > 0


def test_what_people_see(folder: Path) -> None:
    text = train(*SMALL, "--data", "text", "--steps", "20", "--mode", "eager", "--dtype", "bfloat16").stdout
    for part in ("out/gpt-nano-1", "tokens/s", "validation", "1 layers", "bfloat16, eager",
                 "GFLOP/s", "a sample", "loss.png", "sorus generate"):  # fmt: skip
        assert part in text
    done = subprocess.run(command("generate", "--prompt", "line 1", "--tokens", "20", "--seed", "3"),
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("line 1")
    again = [json.loads(subprocess.run(command("generate", where, "--prompt", "line 1", "--tokens", "20", "--seed", "3",
                                               "--json"), capture_output=True, text=True).stdout)
             for where in ("out/gpt-nano-1", "out/gpt-nano-1/checkpoints", "out/gpt-nano-1/model")]  # fmt: skip
    assert {a["text"] for a in again} == {done.stdout.removesuffix("\n")}
    train(*SMALL, "--data", "text", "--steps", "1", "--mode", "eager")
    assert Path("out/gpt-nano-2").is_dir()


def test_mistakes(folder: Path) -> None:
    def error(*arguments: str) -> str:
        return train(*arguments, fails=True).stderr

    assert "no such file or folder" in error("--resume", "nothing")
    assert "no run below out/" in error("--resume")
    assert "not both" in error("--steps", "3", "--minutes", "1")
    assert "not a multiple of --heads 3" in error("--heads", "3")
    assert "none.txt: no such file or folder" in error("--data", "none.txt")
    assert not Path("out").exists()
    assert "too few for" in error(*SMALL[:-4], "--data", "text", "--batch", "100000", "--steps", "1")
    assert "less than 1" in error("--steps", "0")

    train(*SMALL, "--data", "text", "--steps", "4", "--mode", "eager", "--out", "a", "--json")
    assert "there is a run already" in error(*SMALL, "--data", "text", "--out", "a")
    assert "--layers is 2, but the checkpoint was trained with 1" in error("--resume", "a", "--layers", "2")
    (folder / "text" / "new.txt").write_text("more text " * 50)
    assert "the training text is not that of the checkpoint" in error("--resume", "a", "--steps", "8")
    sorus.save({"kind": "other"}, "x.safetensors")
    assert "not a checkpoint of" in error("--resume", "x.safetensors")
    newest = max(Path("a/checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:-3])
    assert "passed over" in error("--resume", "a")
    (folder / "text" / "new.txt").unlink()
    assert "the loss became" in error(*SMALL, "--data", "text", "--steps", "30", "--lr", "1e30", "--mode", "eager",
                                      "--warmup", "0")  # fmt: skip


def without(name: str) -> Callable[[dict], dict]:
    return lambda state: {k: v for k, v in state.items() if k != name}


def changed(part: str, **values: object) -> Callable[[dict], dict]:
    return lambda state: {**state, part: {**state[part], **values}}


def test_damaged_checkpoints_are_named(folder: Path, capsys: pytest.CaptureFixture) -> None:
    train(*SMALL, "--data", "text", "--steps", "1", "--mode", "eager", "--out", "a", "--json")
    path = max(Path("a/checkpoints").iterdir())
    whole = path.read_bytes()
    cases: list[tuple[Callable[[dict], dict], str | None, str | None]] = [
        (without("settings"), "expected a dict as 'settings', found nothing", "expected a dict as 'settings'"),
        (without("model"), "expected a dict as 'model', found nothing", "expected a dict as 'model'"),
        (lambda s: {**s, "config": 3}, "expected a dict as 'config', found int", "expected a dict as 'config'"),
        (changed("settings", odd=1), "unexpected keyword argument 'odd'", None),
        (changed("settings", batch="a"), "batch is 'a', expected int", None),
        (lambda s: {**s, "schedule": {"a": 1}}, "unexpected keyword argument 'a'", None),
        (lambda s: {**s, "loader": {}}, "expected the number 'epoch'", None),
        (lambda s: {**s, "optimizer": {}}, "'param_groups' is missing", None),
        (changed("config", n_embd=32), None, "size mismatch for"),
        (changed("config", odd=1), None, "unexpected keyword argument 'odd'"),
    ]
    for damage, resumed, generated in cases:
        path.write_bytes(whole)
        sorus.save(damage(sorus.load(path)), path)
        for arguments, message in ((["train", "gpt", "--resume", str(path)], resumed),
                                   (["generate", str(path), "--tokens", "1"], generated)):  # fmt: skip
            if message is not None:
                assert main(arguments) == 2
                error = capsys.readouterr().err
                assert f"{path}: " in error and message in error, error


def test_a_full_disk_ends_a_run_and_keeps_its_checkpoint(folder: Path) -> None:
    limited = ("import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
               "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), resource.RLIM_INFINITY));"
               "from sorus.cli import main; sys.exit(main(sys.argv[1:]))")  # fmt: skip
    train(*SMALL, "--data", "text", "--steps", "4", "--mode", "eager", "--out", "a", "--json")
    kept = {p.name: p.read_bytes() for p in Path("a/checkpoints").iterdir()}
    done = subprocess.run([sys.executable, "-c", limited, "30000", "train", "gpt", "--resume", "a", "--steps", "8"],
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 1
    assert "cannot write" in done.stderr and "step-000000008" in done.stderr
    assert {p.name: p.read_bytes() for p in Path("a/checkpoints").iterdir()} == kept


def test_schedule() -> None:
    s = Schedule(peak=1.0, warmup=10)
    assert s.lr(0) == pytest.approx(0.1) and s.lr(500) == 1.0
    s.end_at(100)
    assert s.lr(69) == 1.0 and s.lr(99) < 0.1 and s.lr(10**6) == pytest.approx(0.05)
    t = Schedule(peak=1.0, warmup=10)
    t.end_after(step=60, spent=69.0, limit=100.0)
    assert t.total == 0
    t.end_after(step=70, spent=70.0, limit=100.0)
    assert (t.decay_from, t.total) == (70, 100)
    t.end_after(step=90, spent=95.0, limit=100.0)
    assert t.total == 100  # decided once


def test_csv_drops_what_a_checkpoint_does_not_have(tmp_path: Path) -> None:
    csv = Csv(tmp_path / "x.csv", 0)
    for step in range(1, 5):
        csv.add(step, 1.5, 2.5 if step == 2 else None, 0.1, 100.0, 1.0)
    csv.close()
    with (tmp_path / "x.csv").open("a") as f:
        f.write("5,1.5,")  # torn by a kill
    csv = Csv(tmp_path / "x.csv", 3)
    assert [row["step"] for row in csv.rows()] == [1, 2, 3]
    assert csv.rows()[1]["val_loss"] == 2.5
    Csv(tmp_path / "x.csv", 0).close()
    assert (tmp_path / "x.csv").read_text().count("\n") == 1


def test_help_and_info() -> None:
    for arguments in (["--help"], ["train", "gpt", "--help"], ["generate", "--help"], ["info", "--help"]):
        done = subprocess.run(command(*arguments), capture_output=True, text=True)
        assert done.returncode == 0
        assert len(arguments) == 1 or "examples:" in done.stdout
    done = subprocess.run(command("info", "--json"), capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert found["threads"] >= 1 and found["gemm_float32_gflops"] > 0 and found["memory_gb_per_s"] > 0
    assert os.path.basename(found["cache"])


def test_the_reference_names_every_option() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "command.md").read_text()
    for arguments in (["train", "gpt"], ["generate"], ["info"], ["plan"], ["simulate"], ["calibrate"]):
        text = subprocess.run(command(*arguments, "--help"), capture_output=True, text=True).stdout
        missing = {word for word in re.findall(r"--[a-z][a-z-]*", text) if word not in page}
        assert not missing, f"docs/command.md says nothing of {missing}"
        assert f"## `sorus {' '.join(arguments)}`" in page


@pytest.mark.parametrize("fix", ["zero=1", "dp=1,pp=2,micro=2", "dp=1,tp=2"])
def test_several_devices_give_the_losses_of_one(folder: Path, fix: str) -> None:
    options = [*SMALL, "--data", "text", "--steps", "3", "--json", "--threads", "1"]
    one = lines(train(*options, "--out", "one").stdout)
    many = lines(train(*options, "--out", "many", "--devices", "2", "--fix", fix).stdout)
    assert_same_losses(many, one)


def test_a_batch_that_does_not_divide_is_shared_all_the_same(folder: Path) -> None:
    options = [*SMALL, "--data", "text", "--steps", "3", "--json", "--threads", "1"]
    one = lines(train(*options, "--out", "one").stdout)
    many = lines(train(*options, "--out", "many", "--devices", "3", "--fix", "dp=3").stdout)
    assert_same_losses(many, one)
    held = many[-1]["rank_memory"]
    assert held["measured"] == pytest.approx(held["total"], rel=0.02)


def test_without_pins_the_planner_decides_and_is_held_to_its_word(folder: Path) -> None:
    options = [*SMALL, "--data", "text", "--steps", "3", "--json", "--threads", "1"]
    one = lines(train(*options, "--out", "one").stdout)
    many = lines(train(*options, "--out", "many", "--devices", "4").stdout)
    assert_same_losses(many, one)
    assert many[-1]["predicted_step_s"] > 0 and many[-1]["step_s"] > 0
    assert many[-1]["arrangement"] != "1 rank"


@pytest.mark.parametrize(
    ("fix", "holds"),
    [
        ("micro=4", lambda a: "4 micro-batches" in a),
        ("recompute=1,pp=1,micro=2", lambda a: "recomputation" in a),
        ("micro=2,tp=2", lambda a: "tp 2" in a and "2 micro-batches" in a),
    ],
)
def test_the_planner_keeps_what_is_pinned(folder: Path, fix: str, holds: Callable[[str], bool]) -> None:
    options = [*SMALL, "--data", "text", "--steps", "1", "--json", "--threads", "1", "--out", "run"]
    last = lines(train(*options, "--devices", "2", "--fix", fix).stdout)[-1]
    assert holds(last["arrangement"]), last["arrangement"]
    assert last["predicted_step_s"] > 0


@pytest.mark.skipif(shutil.which("mpirun") is None, reason="no mpirun")
def test_processes_of_mpirun_train_one_model_and_write_one_run(folder: Path) -> None:
    options = [*SMALL, "--data", "text", "--steps", "3", "--json", "--threads", "1"]
    one = lines(train(*options, "--out", "one").stdout)
    started = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "2"]
    done = subprocess.run([*started, *command("train", "gpt"), *options, "--out", "many"], cwd=folder,
                          capture_output=True, text=True, timeout=110)  # fmt: skip
    assert done.returncode == 0, done.stderr
    many = lines(done.stdout)
    assert_same_losses(many, one)
    assert sorted(p.name for p in (folder / "many").iterdir()) == sorted(p.name for p in (folder / "one").iterdir())


def test_a_memory_limit_changes_no_bit(folder: Path) -> None:
    options = [
        *SMALL,
        "--width",
        "128",
        "--layers",
        "2",
        "--data",
        "text",
        "--steps",
        "6",
        "--json",
        "--threads",
        "1",
    ]
    train(*options, "--out", "free")
    last = lines(train(*options, "--out", "limited", "--memory-limit", "2MiB", "--offload-to", ".").stdout)[-1]
    assert losses(Path("limited")) == losses(Path("free"))
    assert weights(Path("limited")) == weights(Path("free"))
    offload = last["offload"]
    assert offload["held"] > 3 * (2 << 20) and 0 < offload["peak_resident"] <= 2 << 20
    assert offload["moved_bytes_a_step"] > 0 and offload["predicted_s_a_step"] > 0
    train("--resume", "limited", "--steps", "8", "--memory-limit", "2MiB")
    train("--resume", "free", "--steps", "8")
    assert weights(Path("limited")) == weights(Path("free"))


def test_a_plan_file_is_run(folder: Path) -> None:
    plan = {"format": "sorus-plan", "version": 1, "devices": 2, "global_batch": 4, "micro_batch": 2, "zero": 1,
            "stages": [{"first_node": 0, "end_node": 9}],
            "mesh": [{"name": "dp", "kind": "data", "size": 2}]}  # fmt: skip
    (folder / "plan.json").write_text(json.dumps(plan))
    done = train(*SMALL, "--data", "text", "--steps", "2", "--plan", "plan.json", "--threads", "1")
    assert "plan: 2 ranks: dp 2, ZeRO 1" in done.stdout
    split = {**plan, "zero": 0, "micro_batch": 4, "mesh": [{"name": "context", "kind": "sequence", "size": 2}]}
    (folder / "split.json").write_text(json.dumps(split))
    options = [*SMALL, "--data", "text", "--steps", "2", "--json", "--threads", "1"]
    one = lines(train(*options, "--out", "one").stdout)
    many = lines(train(*options, "--out", "many", "--plan", "split.json").stdout)
    assert_same_losses(many, one)
    assert many[-1]["arrangement"] == "cp 2"
    wrong = {**plan, "global_batch": 8, "micro_batch": 4}
    (folder / "wrong.json").write_text(json.dumps(wrong))
    refused = train(*SMALL, "--data", "text", "--steps", "2", "--plan", "wrong.json", fails=True)
    assert "the plan is for a batch of 8, this run has 4" in refused.stderr


def plan_file(**changes) -> dict:
    """Of a pipeline of two whose second stage is the last norm and the head alone."""
    blocks = ["ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj"]
    first = [
        "wte.weight",
        "wpe.weight",
        *(f"h.{i}.{b}.{w}" for i in (0, 1) for b in blocks for w in ("weight", "bias")),
    ]
    stages = [{"first_node": 0, "end_node": 80, "parameters": first, "device": 0},
              {"first_node": 80, "end_node": 90, "parameters": ["ln_f.weight", "ln_f.bias"], "device": 1}]  # fmt: skip
    plan = {"format": "sorus-plan", "version": 1, "devices": 2, "global_batch": 4, "micro_batch": 2, "micro_batches": 2,
            "mesh": [{"name": "stage", "kind": "pipeline", "size": 2}], "schedule": "gpipe", "stages": stages}  # fmt: skip
    return plan | changes


def test_a_plan_file_says_where_stages_begin(folder: Path) -> None:
    options = [*SMALL, "--layers", "2", "--data", "text", "--steps", "3", "--json", "--threads", "1"]
    (folder / "plan.json").write_text(json.dumps(plan_file()))
    one = lines(train(*options, "--out", "one").stdout)
    many = lines(train(*options, "--out", "many", "--plan", "plan.json").stdout)
    assert_same_losses(many, one)
    assert many[-1]["arrangement"] == "pp 2, 2 micro-batches, gpipe"


def test_a_plan_of_the_planner_is_run_with_its_marks(folder: Path) -> None:
    (folder / "model.py").write_text(
        "from sorus.models import GPT, presets\n"
        "import sorus\n"
        "def step():\n"
        "    return presets.Step('gpt', lambda: GPT(300, 16, 2, 2, 16), lambda m, x, y: m.loss(x, y),\n"
        "                        lambda b: [([b, 16], sorus.int64)] * 2, sorus.float32)\n"
    )
    for fix in ("tp=2", "pp=2,schedule=1f1b", "pp=2,tp=2,schedule=1f1b,sp=0"):
        devices = "4" if "tp" in fix and "pp" in fix else "2"
        done = subprocess.run(command("plan", "model.py:step", "--devices", devices, "--batch", "4", "--fix", fix,
                                      "--fix", "zero=0,sp=0,offload=0,recompute=none,micro_batch=2", "--no-explain"),
                              capture_output=True, text=True)  # fmt: skip
        assert done.returncode == 0, done.stderr
        options = [*SMALL, "--layers", "2", "--data", "text", "--steps", "2", "--json", "--threads", "1"]
        one = lines(train(*options, "--out", f"one {fix}").stdout)
        assert_same_losses(lines(train(*options, "--out", fix, "--plan", "plan.json").stdout), one)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sequence_parallel": True}, "sequence parallelism"),
        ({"offload": {"optimizer": True}}, "offload of optimizer"),
        ({"mesh": [{"name": "a", "kind": "tensor", "size": 2}, {"name": "b", "kind": "tensor", "size": 2}], "devices": 4,
          "stages": [{"end_node": 9}], "schedule": "none"},
         "a second axis of kind 'tensor' (b)"),
        ({"stages": [{"end_node": 8}, {"first_node": 8, "end_node": 9, "device": 1}]}, "stages without 'parameters' (0, 1)"),
        ({"marks": [{"of": "node", "index": 3, "on": {"stage": "R"}}]}, "the mark of node 3"),
        ({"marks": [{"name": "wte.weight", "on": {"stage": "S(0)"}}]}, "wte.weight cut along the pipeline"),
        ({"micro_batches": 3}, "are not the 4 samples of 'global_batch'"),
        ({"surprise": 1}, "surprise"),
    ],
)  # fmt: skip
def test_what_of_a_plan_cannot_be_run_is_named(folder: Path, changes: dict, message: str) -> None:
    from sorus.distributed.arrangement import Arrangement

    (folder / "plan.json").write_text(json.dumps(plan_file(**changes)))
    with pytest.raises((ValueError, OSError), match=re.escape(message)):
        Arrangement.from_plan("plan.json", 4)


def test_a_plan_of_another_program_is_refused(folder: Path) -> None:
    plan = plan_file()
    plan["stages"][1]["parameters"] = ["norm.weight"]
    (folder / "plan.json").write_text(json.dumps(plan))
    refused = train(*SMALL, "--layers", "2", "--data", "text", "--steps", "1", "--plan", "plan.json", fails=True)
    assert "the parameter 'norm.weight', which the model does not have" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--devices", "7"], "a batch of 4 is smaller than the 7 data-parallel ranks, by 3"),
        (["--devices", "3", "--fix", "dp=3,micro=2"], "cannot be shared equally by 3"),
        (["--devices", "4", "--fix", "dp=3"], "cannot be arranged as dp=3"),
        (["--devices", "2", "--fix", "dp=2,dp=1"], "dp is both 2 and 1"),
        (["--fix", "dp=2"], "--fix needs --devices"),
        (["--devices", "2", "--mode", "eager"], "needs --mode compiled"),
        (["--devices", "2", "--memory-limit", "9MB"], "--memory-limit needs --mode compiled and one device"),
        (["--memory-limit", "lots"], "'lots' is no size; expected one like 300MB or 1.5GiB"),
        (["--memory-limit", "10KB"], "expected at least 1048576 bytes"),
        (["--offload-to", "."], "--offload-to needs --memory-limit"),
        (["--devices", "2", "--fix", "micro=3"], "2 samples of a rank cannot be cut into 3 micro-batches"),
    ],
)
def test_devices_that_do_not_fit_say_so(folder: Path, arguments: list[str], message: str) -> None:
    done = train(*SMALL, "--data", "text", "--steps", "1", *arguments, fails=True)
    assert message in " ".join(done.stderr.split()), done.stderr
