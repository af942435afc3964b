"""The pages about operators: all of them, with what is derived."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import print_operator_pages
from sorus._core import _registry


@pytest.fixture(scope="module")
def pages():
    return print_operator_pages.pages(_registry)


def test_every_operator_has_a_page_and_a_line_in_the_index(pages):
    for name in _registry.names():
        facts = _registry.facts(name)
        assert facts["signature"] in pages[f"{facts['base']}.md"]
        assert f"[{facts['base']}]({facts['base']}.md)" in pages["README.md"]


def test_a_scalar_body_shows_its_gradient_and_cost(pages):
    page = pages["square.md"]
    assert "\n    input * input\n" in page
    assert "grad * conj(input)" in page
    assert "([d0, d1]) -> ([d0, d1])" in page
    assert "For f32[4, 4]: 16 floating-point operations, at least 128 bytes." in page


def test_a_composite_shows_the_smaller_operators(pages):
    assert "= exp(%2) : f32[4, 4]" in pages["softmax.md"]
    assert "matmul_batched(%0, %1)" in pages["matmul.md"]


def test_what_does_not_fit_is_no_example():
    assert _registry.example("matmul", [2, 0]) is None  # a scalar has no rows
    assert _registry.example("nonzero", [-1]) is None  # its input is not optional
    with pytest.raises(KeyError, match="nosuch"):
        _registry.facts("nosuch")
