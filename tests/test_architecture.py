"""The layers of docs/architecture.md, as a failing test: a module imports only rows above its own."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "oceanvar"

# Row by row: modules or packages, and the heavy libraries they may import.
LAYERS: list[tuple[set[str], set[str]]] = [
    ({"errors", "allocation"}, set()),
    ({"registry"}, set()),
    ({"alignment"}, {"numpy", "xarray"}),
    ({"coordinates"}, {"numpy", "xarray", "cf_xarray"}),
    ({"patching"}, {"numpy", "xarray", "dask"}),
    ({"maps"}, {"torch"}),
    ({"dynamics"}, {"torch", "numpy"}),
    ({"variational"}, {"torch"}),
    ({"sampling", "orbits"}, {"numpy"}),
    ({"track_sampling", "cloud_sampling"}, {"numpy"}),
    ({"baselines"}, {"numpy", "xarray", "dask", "scipy"}),
    ({"metrics"}, {"numpy", "xarray", "dask", "scipy", "contourpy", "cf_xarray"}),
    ({"random_fields", "tracks"}, {"numpy", "xarray", "scipy"}),
    ({"satellites"}, {"numpy", "xarray"}),
    ({"training"}, {"torch", "numpy", "lightning_fabric", "tqdm"}),
    ({"plots"}, {"numpy", "xarray", "matplotlib", "cartopy"}),
    ({"instruments"}, set()),
    ({"state_space"}, {"numpy", "xarray"}),
    ({"along_track"}, {"numpy", "xarray", "dask"}),
    ({"track_draws"}, {"numpy"}),
    ({"window_source"}, {"numpy", "xarray", "dask"}),
    ({"bridge"}, {"numpy", "torch"}),
    ({"model_files"}, {"torch", "safetensors"}),
    ({"varnet"}, {"numpy", "torch"}),
    ({"presets", "handles"}, {"numpy", "torch"}),
    ({"mapping", "fitting", "designing"}, {"numpy", "xarray", "dask", "tqdm"}),
    ({"osse", "practice_ocean"}, {"numpy", "xarray"}),
    (
        {"archive"},
        {"numpy", "xarray", "dask", "distributed", "netCDF4", "cftime", "zarr", "fsspec", "tqdm"},
    ),
    ({"experiments"}, {"xarray"}),
    ({"ladder"}, {"torch"}),
    ({"comparison"}, {"numpy", "torch", "xarray"}),
    ({"accessor"}, {"xarray"}),
    ({"__init__", "cli"}, {"click", "lazy_loader", "numpy", "xarray", "dask", "tqdm"}),
]
HEAVY = set().union(*(libraries for _, libraries in LAYERS))
ROW = {name: row for row, (names, _) in enumerate(LAYERS) for name in names}
FILES = sorted(PACKAGE.rglob("*.py"))


def part(module: str) -> str:
    """Row name of a dotted module: ``oceanvar.maps.base`` belongs to ``maps``."""
    names = module.split(".")
    return names[1] if len(names) > 1 else "__init__"


def dotted(file: Path) -> str:
    names = ("oceanvar", *file.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(names)


def imports(file: Path) -> set[str]:
    """Every module a file imports, also inside functions, except for type checking only."""
    tree = ast.parse(file.read_text())
    skipped = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and getattr(block.test, "id", "") == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {dotted(f) for f in FILES}
            found |= (whole & modules) or {node.module or ""}
    return found


def violations(file: Path) -> list[str]:
    own = part(dotted(file))
    wrong = []
    for module in imports(file):
        library = module.split(".")[0]
        if library == "oceanvar":
            other = part(module)
            if other not in ROW or ROW[other] > ROW[own] or (ROW[other] == ROW[own] and other != own):
                wrong.append(module)
        elif library in HEAVY and library not in LAYERS[ROW[own]][1]:
            wrong.append(module)
    return wrong


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_a_module_imports_only_rows_above_its_own(file):
    assert part(dotted(file)) in ROW, "a new module needs a row in LAYERS and in docs/architecture.md"
    assert violations(file) == []


def test_no_cycles():
    graph = {
        dotted(f): {m for m in imports(f) if m.startswith("oceanvar.")}
        for f in FILES
        if f.name != "__init__.py"
    }
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"cycle: {' -> '.join((*path, module))}"
        if module in done:
            return
        for other in graph.get(module, ()):
            visit(other, (*path, module))
        done.add(module)

    for module in graph:
        visit(module, ())


def test_package_inits_are_empty():
    for file in FILES:
        if file.name == "__init__.py" and file.parent != PACKAGE:
            body = ast.parse(file.read_text()).body
            assert all(isinstance(node, ast.Expr) for node in body), f"{file} should hold its docstring only"


def test_files_are_short_and_so_are_functions():
    for file in FILES:
        text = file.read_text()
        assert len(text.splitlines()) <= 400, f"{file} has more than 400 lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                has_docstring = ast.get_docstring(node) is not None
                body = node.body[1:] if has_docstring else node.body
                length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                assert length <= 50, f"{file.name}: {node.name} has a body of {length} lines"


def test_import_registers_the_accessor_and_stays_light():
    code = (
        "import sys, oceanvar, xarray as xr; "
        "assert xr.Dataset.varnet; "
        "heavy = {'torch', 'cartopy', 'matplotlib', 'scipy', 'lightning_fabric'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names_exist():
    import oceanvar

    assert len(oceanvar.__all__) <= 20
    for name in oceanvar.__all__:
        assert getattr(oceanvar, name) is not None
