"""The site's pages hang together. `bash scripts/docs.sh` builds it, which takes minutes."""

import ast
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
NO_PAGES = {"package.md"}
TOCTREE = re.compile(r"^```\{toctree\}\n(.*?)^```", re.MULTILINE | re.DOTALL)
CELL = re.compile(r"^```\{code-cell\}\n(.*?)^```", re.MULTILINE | re.DOTALL)
GALLERY = [page for page in sorted((DOCS / "gallery").glob("*.md")) if page.stem != "index"]


def listed(page: Path) -> set[Path]:
    """Pages that the toctrees of a page name, and those that these name."""
    found = set()
    for tree in TOCTREE.findall(page.read_text()):
        for line in tree.splitlines():
            if line and not line.startswith(":"):
                found |= set(page.parent.glob(f"{line}.md"))
    return found.union(*map(listed, found))


def test_every_page_is_in_the_menu():
    pages = {page for page in DOCS.rglob("*.md") if "api" not in page.parts} - {
        DOCS / each for each in NO_PAGES
    }
    assert pages - listed(DOCS / "index.md") == {DOCS / "index.md"}


def test_the_gallery_is_of_eight_pages():
    assert len(GALLERY) == 8


@pytest.mark.parametrize("page", GALLERY, ids=lambda page: page.stem)
def test_a_page_of_the_gallery_is_code_with_a_picture(page):
    text = page.read_text()
    assert text.startswith("---\nfile_format: mystnb\n")
    cells = [re.sub(r"^%.*$", "", cell, flags=re.MULTILINE) for cell in CELL.findall(text)]
    ast.parse("\n".join(cells))
    assert re.search(r"plot_|subplots|reliability", text)
