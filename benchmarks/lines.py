"""The lines of the benchmark: what is run, for how long, and what is asked of it (the project's targets)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from claims import Claim
from workers import HERE, Variant

sys.path.insert(0, str(HERE / "models"))
from gpt_setup import PRESETS

Speeds = dict[str, float]
"""The fastest products (GFLOP/s, "fp32" and "bf16") and memory traffic (GB/s, "memory") seen on this machine."""


@dataclass(frozen=True)
class Line:
    id: str
    kind: str
    """"steps", "import", "compile", "training" or "program"; measure.py has a function for each."""
    variants: tuple[Variant, ...]
    claims: tuple[Claim, ...]
    quick: bool = True
    """Whether `--quick` runs it."""
    limit: Callable[[Speeds], float] | None = None
    """Seconds that the arithmetic and the memory traffic alone take at those speeds."""
    same_losses: float = 0.0
    """How far the losses of the first steps may lie apart, relatively; 0: they are not compared."""
    settings: dict = field(default_factory=dict)


PEERS = ("torch eager", "torch compiled", "jax compiled")
OURS = ("sorus eager", "sorus compiled", "sorus compiled models.GPT")


def gpt_variants(preset: str, dtype: str, matmul: str = "highest") -> tuple[Variant, ...]:
    common = {"preset": preset, "dtype": dtype} | ({"matmul": matmul} if matmul != "highest" else {})
    return (
        Variant("sorus eager", "gpt", common | {"mode": "eager"}),
        Variant("sorus compiled", "gpt", common | {"mode": "compiled"}),
        Variant("sorus compiled models.GPT", "gpt", common | {"mode": "compiled", "module": "library"}),
        Variant("torch eager", "gpt", common | {"mode": "eager"}),
        Variant("torch compiled", "gpt", common | {"mode": "compiled"}),
        Variant("jax compiled", "gpt_jax", common),
    )


def gpt(preset: str, dtype: str, least: float, aim: float) -> Line:
    c = PRESETS[preset]
    size = f"{c.layers} layers, {c.width} wide, {c.batch} x {c.context} tokens, vocabulary {c.vocabulary:,}"
    claims = [Claim(f"{preset}-{dtype}", f"GPT {preset} {dtype}: {size}", OURS, PEERS, least, aim)]
    if preset == "gpt2":
        claims.append(
            Claim(
                f"{preset}-{dtype}-memory",
                f"GPT {preset} {dtype}: peak resident memory of a step",
                ("sorus compiled",),
                PEERS[:2],
                least=1 / 0.75,
                unit="bytes",
            )
        )

    def limit(speeds: Speeds) -> float:
        return c.step_flops / speeds[dtype] / 1e9 + c.step_bytes(dtype) / speeds["memory"] / 1e9

    return Line(
        f"{preset}-{dtype}",
        "steps",
        gpt_variants(preset, dtype),
        tuple(claims),
        preset == "nano",
        limit,
        same_losses=2e-4 if dtype == "fp32" else 2e-2,
    )


def gpt_in_parts(preset: str) -> Line:
    """float32 as above, but with products of less precision; nothing is asked of it."""
    base = gpt(preset, "fp32", 0, 0)
    title = base.claims[0].title.replace("fp32:", 'fp32, set_float32_matmul_precision("high"):')
    claim = Claim(f"{base.id}-high", title, OURS, PEERS[:2])
    variants = gpt_variants(preset, "fp32", "high")[:-1]  # JAX has no such mode on this device
    return Line(f"{base.id}-high", "steps", variants, (claim,), False, base.limit, same_losses=1e-3)


def mlp() -> Line:
    variants = (
        Variant("sorus eager", "mlp", {"mode": "eager"}),
        Variant("sorus compiled", "mlp", {"mode": "compiled"}),
        Variant("torch eager", "mlp", {"mode": "eager"}),
        Variant("torch compiled", "mlp", {"mode": "compiled"}),
        Variant("jax compiled", "mlp_jax"),
    )
    claims = (
        Claim("mlp-eager", "MLP 784-128-10, batch 1, SGD, eager", ("sorus eager",), ("torch eager",), 4),
        Claim("mlp-compiled", "MLP 784-128-10, batch 1, SGD, compiled", ("sorus compiled",), ("torch eager",), 10),
    )
    flops = 2 * (2 * 784 * 128 + 3 * 128 * 10)  # the first layer needs no gradient of its input
    return Line("mlp", "steps", variants, claims, True, lambda s: flops / s["fp32"] / 1e9, same_losses=2e-4)


def operator(name: str, backward: bool, at_most: float) -> Line:
    id = f"operator-{name}" + ("-backward" if backward else "")
    title = f"operator {name} of 4 elements from Python" + (", with its backward" if backward else "")
    options = {"operator": name, "backward": backward}
    variants = (Variant("sorus eager", "operators", options), Variant("torch eager", "operators", options))
    return Line(
        id,
        "steps",
        variants,
        (Claim(id, title, ("sorus eager",), ("torch eager",), at_most=at_most),),
        same_losses=1e-6,
    )


def operator_from_cpp() -> Line:
    variants = (Variant("sorus C++", "", {"name": "4: add"}), Variant("torch eager", "", {"name": "4: add"}))
    title = "operator add of 4 elements from C++ (PyTorch's from Python)"
    claim = Claim("operator-cpp", title, ("sorus C++",), ("torch eager",), at_most=0.25e-6)
    return Line("operator-cpp", "program", variants, (claim,))


def imports() -> Line:
    variants = (Variant("sorus", ""), Variant("torch", ""), Variant("jax", ""))
    return Line("import", "import", variants, (Claim("import", "import", ("sorus",), ("torch", "jax"), at_most=0.1),))


def compiling() -> Line:
    variants = (
        Variant("sorus compiled", "gpt", {"preset": "gpt2", "mode": "compiled"}),
        Variant("torch compiled", "gpt", {"preset": "gpt2", "mode": "compiled"}),
    )
    claims = (
        Claim(
            "compile-cold",
            "compile the gpt2 step, nothing cached",
            ("sorus compiled cold",),
            ("torch compiled cold",),
            at_most=6,
            wall_only=True,
        ),
        Claim(
            "compile-cached",
            "compile the gpt2 step from the cache",
            ("sorus compiled cached",),
            ("torch compiled cached",),
            at_most=0.5,
            wall_only=True,
        ),
    )
    return Line("compile", "compile", variants, claims, quick=False)


def training(dtype: str) -> Line:
    common = {"preset": "nano", "dtype": dtype}
    variants = (
        Variant("sorus compiled", "gpt", common | {"mode": "compiled"}),
        Variant("torch eager", "gpt", common),
    )
    claim = Claim(
        f"training-{dtype}",
        f"GPT nano {dtype}: validation loss after the same tokens",
        ("sorus compiled",),
        ("torch eager",),
        unit="loss",
    )
    return Line(f"training-{dtype}", "training", variants, (claim,), quick=False)


def all_lines() -> list[Line]:
    return [
        imports(),
        operator_from_cpp(),
        *(operator(name, False, 0.5e-6) for name in ("add", "relu", "sum")),
        *(operator(name, True, 1.2e-6) for name in ("mul", "relu")),
        mlp(),
        gpt("nano", "fp32", 1.5, 1.8),
        gpt("nano", "bf16", 4, 5),
        gpt("small", "fp32", 1.2, 1.3),
        gpt_in_parts("small"),
        gpt("small", "bf16", 1.9, 2.5),
        gpt("gpt2", "fp32", 1.3, 1.4),
        gpt("gpt2", "bf16", 1.8, 2.2),
        compiling(),
        training("fp32"),
        training("bf16"),
    ]


def chosen(patterns: list[str], quick: bool) -> list[Line]:
    """The lines of which the id, or the id of a claim, contains one of the patterns; all without patterns.

    A pattern that is the whole id of a line means that line only.
    """
    lines = [line for line in all_lines() if line.quick or not quick]
    if not patterns:
        return lines
    found = []
    for line in all_lines():
        ids = (line.id, *(c.id for c in line.claims))
        exact = [p for p in patterns if any(p == other.id for other in all_lines())]
        if any(p == line.id if p in exact else any(p in id for id in ids) for p in patterns):
            found.append(line)
    if not found:
        names = ", ".join(line.id for line in all_lines())
        raise ValueError(f"--only {' '.join(patterns)}: no line has a name like that; there are {names}")
    return found
