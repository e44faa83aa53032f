"""The table of rows in docs/architecture.md, made from what holds: pyproject.toml, docstrings, imports.

python -m scripts.architecture
"""

import ast
import sys
import tomllib
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- rows, by scripts/architecture.py -->\n", "<!-- end of rows -->\n"


def rows() -> list[list[str]]:
    """Modules and folders of each row, the lowest first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [each["layers"] for each in contracts if each["type"] == "layers"]
    return [[name.strip() for name in row.split("|")] for row in reversed(layers)]


def about(name: str) -> str:
    """First sentence of the docstring of a module or folder."""
    path = ROOT / "oceanvar" / name
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return (ast.get_docstring(ast.parse(file.read_text())) or "").splitlines()[0].removesuffix(".")


def table() -> str:
    """Rows as Markdown, with what each place imports of oceanvar and of other libraries."""
    graph = grimp.build_graph("oceanvar", include_external_packages=True, cache_dir=None)
    lines = ["| row | place | what | of oceanvar it imports | libraries |", "|---|---|---|---|---|"]
    for number, row in enumerate(rows(), start=1):
        for name in row:
            module = f"oceanvar.{name}"
            modules = {module, *graph.find_descendants(module)}
            imported = {other for each in modules for other in graph.find_modules_directly_imported_by(each)}
            own = {other.split(".")[1] for other in imported - modules if other.startswith("oceanvar.")}
            others = {other.split(".")[0] for other in imported} - {"oceanvar", *sys.stdlib_module_names}
            place = f"`{name}/`" if (ROOT / "oceanvar" / name).is_dir() else f"`{name}`"
            cells = [
                number,
                place,
                about(name),
                ", ".join(sorted(own - {"errors"})),
                ", ".join(sorted(others)),
            ]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def page() -> str:
    """The page with the table of today."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page())
