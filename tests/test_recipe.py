"""The recipe for conda-forge says what pyproject.toml says."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
RECIPE = yaml.safe_load((ROOT / "scripts" / "conda" / "recipe.yaml").read_text())

CONDA_NAMES = {
    "cf-xarray": "cf_xarray",
    "dask[array]": "dask-core",
    "lightning-fabric": "pytorch-lightning",
    "matplotlib": "matplotlib-base",
    "torch": "pytorch",
}
"""Of packages that conda-forge has under another name."""


def in_conda(requirement: str) -> str:
    name, bound = re.fullmatch(r"([\w\[\]-]+)(>=[\d.]+)", requirement).groups()
    return f"{CONDA_NAMES.get(name, name.lower())} {bound}"


def test_dependencies_and_their_bounds():
    python, *others = RECIPE["requirements"]["run"]
    assert python == "python >=${{ python_min }}"
    assert others == [in_conda(each) for each in PROJECT["dependencies"]]


def test_the_bound_of_python():
    assert f">={RECIPE['context']['python_min']}" == PROJECT["requires-python"]
    assert RECIPE["requirements"]["host"][0] == "python ${{ python_min }}.*"


def test_entry_points():
    expected = [f"{name} = {target}" for name, target in PROJECT["scripts"].items()]
    assert RECIPE["build"]["python"]["entry_points"] == expected


def test_what_builds_it():
    assert set(PYPROJECT["build-system"]["requires"]) <= set(RECIPE["requirements"]["host"])


def test_name_version_summary_and_license():
    assert RECIPE["package"]["name"] == PROJECT["name"]
    assert RECIPE["context"]["version"] == PROJECT["version"]
    assert RECIPE["about"]["summary"] == PROJECT["description"]
    assert RECIPE["about"]["license"] == PROJECT["license"]
    assert (ROOT / RECIPE["about"]["license_file"]).is_file()


def test_the_source_is_this_repository():
    assert (ROOT / "scripts" / "conda" / RECIPE["source"]["path"]).resolve() == ROOT
