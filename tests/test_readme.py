"""The code of the README and of the how-to pages runs, and a part is swapped in at most ten lines."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python( continued)?\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[bool, str]]:
    return [(bool(continued), code) for continued, code in BLOCK.findall(page.read_text())]


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda p: str(p.relative_to(ROOT)))
def test_python_blocks_run(page, tmp_path, monkeypatch):
    """A block starts anew; one marked ``continued`` sees all that came before it on the page."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    seen: dict = {}
    for continued, code in blocks(page):
        space = seen if continued else {"__name__": "page"}
        exec(compile(code, str(page), "exec"), space)
        seen.update(space)


@pytest.mark.parametrize("base", ["AbstractMap", "AbstractSolver"])
def test_a_part_is_swapped_in_ten_lines(base):
    swaps = [code for _, code in blocks(ROOT / "README.md") if f"({base})" in code]
    assert len(swaps) == {"AbstractMap": 2, "AbstractSolver": 1}[base]
    for code in swaps:
        assert len([line for line in code.splitlines() if line.strip()]) <= 10


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
