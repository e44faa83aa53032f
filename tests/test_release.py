"""What a release promises: bounds of dependencies, and a description that stands on its own."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_bounds_are_those_that_the_release_check_tests():
    pins = dict(
        line.lower().split("==")
        for line in (ROOT / "constraints-min.txt").read_text().splitlines()
        if line and not line.startswith("#")
    )
    for each in PROJECT["dependencies"]:
        name, bound = re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", each).groups()
        assert pins[name.lower()] == bound, each


def test_the_description_has_nothing_that_lies_beside_it():
    text = (ROOT / PROJECT["readme"]).read_text()
    assert "](" not in text


def test_the_citation_is_of_this_version():
    yaml = pytest.importorskip("yaml")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert {"cff-version", "message", "title", "authors"} <= set(citation)


def test_the_pages_for_newcomers_name_what_is_there():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`?((?:scripts|tests|docs|oceanvar)/[\w/.]+\w)", text)
    assert len(named) > 10
    assert [each for each in named if not (ROOT / each).exists()] == []
