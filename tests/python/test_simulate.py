"""sorus simulate: published training steps."""

import csv
import json
import os
from pathlib import Path

import pytest
from sorus.cli import main

GPT = {
    "model": "GPT-18B", "layers": "40", "hidden": "6144", "heads": "48", "seq_len": "2048", "vocab": "51200",
    "global_batch": "1024", "micro_batch": "8", "gpus": "256", "tp": "8", "pp": "1", "dp": "32", "recompute": "full",
    "precision": "fp16", "device": "A100-SXM-80GB", "iter_time_s": "9.4",
}  # fmt: skip


def simulate(tmp_path: Path, *rows: dict) -> list[dict]:
    table, out = tmp_path / "t.csv", tmp_path / "p.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(k for r in rows for k in r)))
        writer.writeheader()
        writer.writerows(rows)
    assert main(["simulate", "--table", str(table), "--out", str(out)]) == 0
    return list(csv.DictReader(out.open()))


def test_a_row_gets_predictions_and_what_was_assumed(tmp_path):
    (row,) = simulate(tmp_path, GPT)
    assert abs(float(row["predicted_iter_time_s"]) / 9.4 - 1) < 0.1
    assert 20 < float(row["predicted_mem_gb_per_gpu"]) < 80
    assert "dropout 0.1" in row["note"]
    assert row["model"] == "GPT-18B"


def test_rows_that_cannot_be_expressed_say_why(tmp_path):
    rows = simulate(
        tmp_path, GPT, GPT | {"heads": ""}, GPT | {"tp": "5"}, GPT | {"global_batch": "1000"}, GPT | {"dp": "31"}
    )
    assert rows[0]["predicted_iter_time_s"]
    for row, reason in zip(
        rows[1:], ["'heads' is empty", "tp 5", "not a multiple", "are not the 256 devices"], strict=True
    ):
        assert row["predicted_iter_time_s"] == "" and reason in row["note"], row["note"]


@pytest.mark.parametrize(
    ("column", "text", "reason"),
    [
        ("global_batch", "nan", 'global_batch is "nan", expected a number'),
        ("layers", "inf", 'layers is "inf", expected a number'),
        ("hidden", "6,144", 'hidden is "6,144", expected a number'),
        ("tp", "-8", "tp is -8"),
        ("gpus", "2.5", "gpus is 2.5, expected a whole number"),
        ("layers", "1e9", "at most 4096"),
        ("seq_len", "1e300", "seq_len is 1e+300"),
        ("peak_tflops", "1e-300", "too small"),
        ("intra_bw_GBps", "fast", "expected a number"),
    ],
)
def test_odd_values_are_named_and_end_nothing(tmp_path, column, text, reason):
    odd, good = simulate(tmp_path, GPT | {column: text}, GPT)
    assert odd["predicted_iter_time_s"] == odd["predicted_mem_gb_per_gpu"] == "" and reason in odd["note"], odd[
        "note"
    ]
    assert float(good["predicted_iter_time_s"]) > 0


def test_zeros_and_spaces_are_empty_columns(tmp_path):
    rows = simulate(tmp_path, GPT, GPT | {"peak_tflops": "0", "cp": " ", "ffn": "0", "inter_bw_GBps_per_gpu": "0"})
    assert rows[0]["predicted_iter_time_s"] == rows[1]["predicted_iter_time_s"]


def test_eight_bits_are_faster_whichever_peak_is_printed(tmp_path):
    h100 = GPT | {"device": "H100-SXM-80GB", "precision": "bf16", "peak_tflops": "989", "notes": "flash attention"}
    sixteen, eight, other = simulate(
        tmp_path, h100, h100 | {"precision": "fp8", "peak_tflops": "1979"}, h100 | {"precision": "fp8"}
    )
    assert float(eight["predicted_iter_time_s"]) < 0.85 * float(sixteen["predicted_iter_time_s"])
    assert float(other["predicted_iter_time_s"]) == pytest.approx(float(eight["predicted_iter_time_s"]), rel=0.01)


def test_more_work_takes_longer_and_recomputation_saves_memory(tmp_path):
    base, longer, kept = simulate(tmp_path, GPT, GPT | {"layers": "80"}, GPT | {"recompute": "none"})
    assert float(longer["predicted_iter_time_s"]) > 1.8 * float(base["predicted_iter_time_s"])
    assert float(kept["predicted_iter_time_s"]) < float(base["predicted_iter_time_s"])
    assert float(kept["predicted_mem_gb_per_gpu"]) > float(base["predicted_mem_gb_per_gpu"])


def test_published_steps(tmp_path, capsys):
    data = os.environ.get("SORUS_DATA")
    table = Path(data).parent / "anchors" / "parallel_training.csv" if data else None
    if not table or not table.exists():
        pytest.skip("SORUS_DATA is not set")
    rows = [r for r in csv.DictReader(table.open()) if r["source_id"].startswith(("SC21-T1", "KORTHIKANTI22"))]
    predicted = simulate(tmp_path, *rows)

    def mean(column, by):
        errors = [abs(float(r[by]) / float(r[column]) - 1) for r in predicted if r[column] and r[by]]
        return sum(errors) / len(errors)

    assert mean("iter_time_s", "predicted_iter_time_s") < 0.03
    assert mean("mem_gb_per_gpu", "predicted_mem_gb_per_gpu") < 0.07
    capsys.readouterr()
    assert main(["simulate", "--table", str(table), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["not_expressed"] == 0


def test_published_steps_beside_the_fitted_ones(capsys):
    table = Path(__file__).parents[2] / "benchmarks" / "published_steps.csv"
    assert main(["simulate", "--table", str(table), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["not_expressed"] == 0
    assert summary["time_rows"] == 257 and summary["time_mean_error"] < 0.08
    assert summary["memory_rows"] == 9 and summary["memory_mean_error"] < 0.15


def test_context_parallelism_divides_what_tokens_cost(tmp_path):
    llama = {"layers": "32", "hidden": "4096", "heads": "32", "ffn": "14336", "vocab": "128256", "params_b": "8.03",
             "seq_len": "32768", "micro_batch": "1", "gpus": "8", "tp": "1", "pp": "1", "zero_stage": "3",
             "recompute": "full", "precision": "bf16", "device": "H100-SXM-80GB"}  # fmt: skip
    rows = simulate(tmp_path, *[llama | {"cp": str(cp), "global_batch": str(8 // cp)} for cp in (1, 2, 4, 8, 3)])
    seconds = [float(r["predicted_iter_time_s"]) for r in rows[:4]]
    memory = [float(r["predicted_mem_gb_per_gpu"]) for r in rows[:4]]
    # Half of the samples, and half of the tokens of each on a rank; keys and values on their way cost something.
    assert 0.5 * seconds[0] < seconds[1] < 0.6 * seconds[0]
    assert seconds[1] > seconds[2] > seconds[3] and memory[0] > memory[1] > memory[2] > memory[3]
    assert "cp" in rows[4]["note"] and not rows[4]["predicted_iter_time_s"]
