"""The documents tell the truth: their programs run and print what is shown, their links exist.

`python tests/python/test_documents.py` writes anew what the programs print.
"""

import contextlib
import io
import os
import re
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOUR = ROOT / "docs" / "tour.md"
SEVERAL = ROOT / "docs" / "several_devices.md"
PYTORCH = ROOT / "docs" / "from_pytorch.md"
ENTRY = ROOT / "docs" / "adding_an_operator.md"
BLOCK = re.compile(r"```python\n(.*?)```\n(?:```text\n(.*?)```\n)?", re.DOTALL)


def executed(page: Path) -> str:
    """The page with every ```text block behind a ```python block replaced by what the block prints."""
    source = page.read_text(encoding="utf-8")
    namespace: dict = {"__name__": page.stem}

    def run(match: re.Match) -> str:
        line = source.count("\n", 0, match.start(1))
        code = compile("\n" * line + match[1], page.name, "exec")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)
        if match[2] is None:
            assert not printed.getvalue(), f"{page.name}:{line}: prints, and nothing is shown"
            return match[0]
        return match[0][: match.start(2) - match.start()] + printed.getvalue() + "```\n"

    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            return BLOCK.sub(run, source)
        finally:
            os.chdir(here)


@pytest.mark.parametrize("page", [TOUR, ENTRY, SEVERAL, PYTORCH], ids=lambda p: p.stem)
def test_programs_print_what_is_shown(page):
    assert executed(page) == page.read_text(encoding="utf-8")


def test_the_entry_that_is_explained_is_the_one_in_the_sources():
    """Each ```cpp block of the page stands, but for white space, in a source of the project."""
    sources = [
        p.read_text(encoding="utf-8")
        for folder in ("src/sorus/ops", "tests/cpp/operators")
        for p in sorted((ROOT / folder).glob("*.cpp"))
    ]
    squeezed = ["".join(text.split()) for text in sources]
    blocks = re.findall(r"```cpp\n(.*?)```", ENTRY.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        assert any("".join(block.split()) in text for text in squeezed), f"not in the sources:\n{block}"


def test_links_and_folders_exist():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"
    architecture = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for folder in sorted((ROOT / "src" / "sorus").iterdir()):
        if folder.is_dir() and any(folder.iterdir()):
            assert f"`{folder.name}`" in architecture, f"docs/architecture.md does not name src/sorus/{folder.name}"


if __name__ == "__main__":
    for page in (TOUR, TOUR, ENTRY, SEVERAL):  # twice: what is printed names lines, and moves them
        page.write_text(executed(page), encoding="utf-8")
