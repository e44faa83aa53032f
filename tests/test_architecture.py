"""The house of docs/architecture.md: who may import whom, how long a file may be, what an import costs."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import oceanvar
from oceanvar import registry
from scripts import architecture

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "oceanvar").rglob("*.py"))


def test_rows_and_circles():
    # In a process of its own: it sets up logging anew and turns all loggers off that are there.
    code = "import sys; from importlinter import cli; sys.exit(cli.lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_table_of_the_architecture_is_that_of_today():
    assert architecture.page() == architecture.PAGE.read_text(), "python -m scripts.architecture"


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


WINGS = sorted(stub.parent for stub in (ROOT / "oceanvar").rglob("__init__.pyi"))


def test_every_first_name_is_there_in_a_fresh_process():
    code = (
        "import oceanvar; oceanvar.presets.fourdvarnet; [getattr(oceanvar, name) for name in dir(oceanvar)]"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("wing", WINGS, ids=lambda wing: wing.name)
def test_public_names_exist(wing):
    module = importlib.import_module(".".join(wing.relative_to(ROOT).parts))
    for name in module.__all__:
        public = getattr(module, name)
        assert public.__doc__
        assert getattr(public, "__module__", module.__name__).startswith("oceanvar"), name


def test_the_first_names_are_few():
    assert 10 <= len(oceanvar.__all__) <= 24


def test_parts_of_models_are_public_in_their_wing():
    registry.import_wings()
    for name, cls in registry._CLASSES.items():
        wing = cls.__module__.split(".")[1]
        if cls.__module__.startswith("oceanvar."):
            assert name in importlib.import_module(f"oceanvar.{wing}").__all__, f"{cls.__module__}.{name}"
