"""An include that points the wrong way fails here: docs/layers.txt says which layer may use which."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "src" / "sorus"
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"](sorus/[^">]+)[">]', re.MULTILINE)


def read_layers(text: str) -> dict[str, set[str]]:
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    parts = (line.partition(":") for line in lines if line)
    return {name.strip(): set(uses.split()) for name, _, uses in parts}


LAYERS = read_layers((ROOT / "docs" / "layers.txt").read_text())


def layer_of(path: str) -> str:
    """The layer of "sorus/ops/gelu.h" is ops; a header of no folder, "sorus/ops.h", belongs to the one of its name."""
    return path.split("/")[1].removesuffix(".h")


def wrong_includes(path: str, text: str) -> list[str]:
    layer = layer_of(path)
    if layer not in LAYERS:
        return [f"{path}: '{layer}' is not in docs/layers.txt"]
    allowed = LAYERS[layer] | {layer}
    used = (match[1] for match in INCLUDE.finditer(text))
    return [f"{path} ({layer}) may not include {header}" for header in used if layer_of(header) not in allowed]


def test_includes_point_down() -> None:
    wrong = []
    for file in sorted(SOURCES.glob("*/**/*")):
        if file.suffix in {".h", ".cpp"}:
            wrong += wrong_includes(f"sorus/{file.relative_to(SOURCES)}", file.read_text())
    assert not wrong, "\n".join(wrong)


def test_the_list_has_an_order() -> None:
    """Each layer uses only those listed before it, and with each of them all that it uses."""
    before: set[str] = set()
    for layer, uses in LAYERS.items():
        assert uses <= before, f"{layer} uses {uses - before}, listed after it"
        for used in uses:
            assert LAYERS[used] <= uses, f"{layer} uses {used} but not {LAYERS[used] - uses}"
        before.add(layer)


@pytest.mark.parametrize(
    "path, line, right",
    [
        ("sorus/graph/graph.h", '#include "sorus/tensor/tensor.h"', True),
        ("sorus/tensor/tensor.h", '#include "sorus/graph/graph.h"', False),
        ("sorus/graph/node.cpp", "#  include <sorus/ops.h>", False),
        ("sorus/derive/cost.cpp", '#include "sorus/ops.h"', True),
        ("sorus/surprise/a.h", "", False),
    ],
)
def test_the_check_itself(path: str, line: str, right: bool) -> None:
    assert (wrong_includes(path, line) == []) == right
