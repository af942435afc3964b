#!/usr/bin/env python3
"""Print a page about every operator, and an index of them, from the registry: `make docs` writes docs/operators.

    print_operator_pages.py [FOLDER]

A page shows what the operator's entry in src/sorus/ops says and what is derived from that: gradient, sharding, cost.
Nothing about an operator is written here; what a page lacks is missing in its entry.
"""

from __future__ import annotations

import itertools
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RANKS = (2, 1, 3, 4, 0, -1)
"""Of inputs in an example, in the order in which they are tried; -1 leaves an optional input out."""


def example(registry, facts: dict) -> dict | None:
    """A call that fits: result types, sharding, cost, smaller operators."""
    for ranks in itertools.product(RANKS, repeat=len(facts["tensors"])):
        found = registry.example(facts["name"], list(ranks))
        if found:
            return found
    return None


def kind(facts: dict) -> str:
    """Where what it computes is written."""
    if facts["each"]:
        return "elementwise"
    if facts["index"]:
        return "index notation"
    if facts["view"]:
        return "view"
    if facts["body"]:
        return "composite"
    if facts["expand"]:
        return "convenience"
    return "kernel"


def definition(facts: dict) -> list[str]:
    if facts["each"]:
        return ["For each element (inputs broadcast):", "", f"    {facts['each']}"]
    if facts["index"]:
        return ["In index notation:", "", f"    {facts['index']}"]
    if facts["view"]:
        return ["A view: the result shows the memory of the input."]
    if facts["body"]:
        return ["A composite of smaller operators, which keeps its name in graphs; an example is below."]
    if facts["expand"]:
        return ["Stands for smaller operators and never appears in graphs; an example is below."]
    return ["Computed by a kernel written by hand."]


def gradient(registry, facts: dict) -> list[str]:
    if not facts["differentiable"]:
        return ["None."]
    if facts["gradient_rule"]:
        saved = f"; it keeps {', '.join(facts['gradient_saves'])}" if facts["gradient_saves"] else ""
        return [f"By a rule in the entry, written with public operators{saved}."]
    if facts["body"]:
        return ["By the gradients of the smaller operators."]
    if facts["view"]:
        return ["By the view turned round."]
    lines: list[str] = []
    for i, tensor in enumerate(facts["tensors"]):
        name = f"{facts['name']}:grad{i}"
        if not registry.known(name):
            continue
        derived = registry.facts(name)
        if facts["each"]:
            lines += [""] * bool(lines)
            lines += [
                f"Of `{tensor}`, from the body, where `grad` is what reaches the result:",
                "",
                f"    {derived['each']}",
            ]
        else:
            lines.append(
                f"- of `{tensor}`: `{name}`, the same loops with the roles of the result and `{tensor}` exchanged"
            )
    return lines or ["None: no input takes part in differentiation."]


def sharding(facts: dict, shown: dict | None) -> list[str]:
    lines = []
    if facts["axes"]:
        lines += ["As the entry says:", "", f"    {facts['axes']}", ""]
    if shown:
        lines += [f"For {', '.join(shown['inputs']) or 'no tensors'}:", "", f"    {shown['sharding']}"]
    return lines or ["No example could be made by itself; see the operator's samples in tests/cpp/operators."]


def cost(facts: dict, shown: dict | None) -> list[str]:
    if facts["view"]:
        return ["Nothing is computed or moved."]
    if facts["body"] and not facts["cost_rule"]:
        return ["The sum of the smaller operators, where no backend takes it whole."]
    lines = []
    if facts["flops_per_element"] is not None:
        lines.append(f"{facts['flops_per_element']:g} floating-point operations an element.")
    elif facts["cost_rule"]:
        lines.append("By a rule in the entry.")
    if shown:
        lines.append(
            f"For {', '.join(shown['inputs']) or 'no tensors'}: {shown['flops']:g} floating-point operations, at "
            f"least {shown['bytes']:g} bytes."
        )
    return lines or ["Depends on the values."]


def types(facts: dict, shown: dict | None) -> list[str]:
    meaning = {
        "promote": "the type in which the inputs meet",
        "float": "a floating-point type; integers become the default",
        "bool": "bool",
        "real": "the real type of a complex one",
        "": "",
    }
    text = "By a rule in the entry." if facts["types_rule"] else meaning.get(facts["result"], facts["result"])
    lines = [f"Result: {text[0].lower() + text[1:].rstrip('.')}."] if text else []
    if shown:
        lines.append(f"{', '.join(shown['inputs']) or 'no tensors'} give {', '.join(shown['outputs'])}.")
    autocast = {"lower": "Autocast computes it in the lower type.", "full": "Autocast computes it in float32."}
    lines += [autocast[facts["autocast"]]] if facts["autocast"] in autocast else []
    lines += ["The result's shape depends on values, so it runs only in eager mode."] if facts["value_shaped"] else []
    lines += ["It draws random numbers, by a key and the position of the element."] if facts["random"] else []
    return lines or ["No example could be made by itself."]


def page(registry, overloads: list[dict]) -> str:
    out = [f"# {overloads[0]['base']}", ""]
    for facts in overloads:
        shown = example(registry, facts)
        if len(overloads) > 1:
            out += [f"## {facts['name']}", ""]
        out += ["```", facts["signature"], "```", ""]
        if facts["doc"]:
            out += [facts["doc"], ""]
        out += [*definition(facts), ""]
        sections = (
            []
            if facts["expand"]
            else (
                ("Types", types(facts, shown)),
                ("Gradient", gradient(registry, facts)),
                ("Sharding", sharding(facts, shown)),
                ("Cost", cost(facts, shown)),
            )
        )
        if facts["expand"]:
            out += ["Types, gradient, sharding and cost are those of the smaller operators.", ""]
        for title, lines in sections:
            out += [f"**{title}**", "", *lines, ""]
        if shown and "graph" in shown:
            out += ["**In smaller operators**", "", "```", shown["graph"].rstrip(), "```", ""]
    while out[-1] == "":
        out.pop()
    return "\n".join(out) + "\n"


def pages(registry) -> dict[str, str]:
    """File name and text of every page."""
    groups: dict[str, list[dict]] = {}
    for name in registry.names():
        facts = registry.facts(name)
        groups.setdefault(facts["base"], []).append(facts)
    index = [
        "# Operators",
        "",
        "Printed by `make docs` from the registry.",
        "",
        "| operator | defined by | |",
        "|---|---|---|",
    ]
    texts = {}
    for base in sorted(groups):
        texts[f"{base}.md"] = page(registry, groups[base])
        kinds = ", ".join(dict.fromkeys(kind(facts) for facts in groups[base]))
        doc = next((facts["doc"] for facts in groups[base] if facts["doc"]), "")
        formula = next(
            (facts["each"] or facts["index"] for facts in groups[base] if facts["each"] or facts["index"]), ""
        )
        what = doc or (f"`{formula}`".replace("|", "\\|") if formula else "")
        index.append(f"| [{base}]({base}.md) | {kinds} | {what} |")
    return {"README.md": "\n".join(index) + "\n", **texts}


def main() -> None:
    from sorus._core import _registry

    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "operators"
    texts = pages(_registry)
    if folder.exists() and (folder / "README.md").exists():
        shutil.rmtree(folder)  # pages of operators that are gone
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    print(f"{len(texts) - 1} pages in {folder}")


if __name__ == "__main__":
    main()
