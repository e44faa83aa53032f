"""Docstrings of what is public: in numpydoc's form, naming what the signature names, with examples that run."""

import doctest
import importlib
import inspect
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

import pytest
import torch

import oceanvar
from oceanvar import accessor

ROOT = Path(__file__).parents[1]

STYLE = {
    "SA01",  # "See also" where it helps: names in text are enough
    "ES01",  # a second paragraph where there is more to say
    "EX01",  # examples where they add something: FIRST have them
    "SS02",  # a summary or a description may begin with a formula
    "PR08",
    "RT04",
    "SS05",  # "State at ..." reads better than a forced imperative
    "RT02",  # takes "low, high : float" for one value
}
"""Checks of numpydoc that are none here."""

IN_ONE_LINE = STYLE | {"PR01", "RT01", "YD01"}
"""The same for a method: where its base class or its name says the rest, one line is enough."""

FIRST = (
    "assimilate",
    "fit",
    "load",
    "observe",
    "windows",
    "StateSpace",
    "Instrument",
    "lorenz63",
)
"""First names that a newcomer looks up."""


def public() -> dict[str, object]:
    """Functions and classes of all wings, each by where it is written."""
    found = {}
    for stub in sorted((ROOT / "oceanvar").rglob("__init__.pyi")):
        wing = importlib.import_module(".".join(stub.parent.relative_to(ROOT).parts))
        for name in wing.__all__:
            each = getattr(wing, name)
            if inspect.isfunction(each) or inspect.isclass(each):
                found[f"{each.__module__}.{each.__qualname__}"] = each
    return found


PUBLIC = public()


def methods(owner: type) -> Iterator[str]:
    """Public methods and properties that a class defines itself."""
    for name, each in vars(owner).items():
        is_method = callable(each) or isinstance(each, property | classmethod | staticmethod)
        if is_method and not name.startswith("_") and getattr(owner, name).__doc__:
            yield name


def takes_nothing(each: object) -> bool:
    """Whether a class is named, not made: an enumeration, or a base class without arguments of its own."""
    return inspect.isclass(each) and (issubclass(each, Enum) or each.__name__.startswith("Abstract"))


def wrong(name: str, ignored: set[str]) -> list[str]:
    validate = pytest.importorskip("numpydoc.validate").validate
    return [f"{name}: {code} {said}" for code, said in validate(name)["errors"] if code not in ignored]


@pytest.mark.parametrize("name", PUBLIC)
def test_docstrings_name_what_signatures_name(name):
    each = PUBLIC[name]
    assert wrong(name, STYLE | ({"PR01"} if takes_nothing(each) else set())) == []
    if inspect.isclass(each):
        assert [line for one in methods(each) for line in wrong(f"{name}.{one}", IN_ONE_LINE)] == []


@pytest.mark.parametrize("owner", ["DatasetAccessor", "DataArrayAccessor", "DataTreeAccessor"])
def test_the_accessor_s_own_methods_too(owner):
    own = [name for name in methods(getattr(accessor, owner)) if "_Verb" not in repr(vars(accessor)[owner])]
    assert [line for one in own for line in wrong(f"oceanvar.accessor.{owner}.{one}", IN_ONE_LINE)] == []


def test_the_first_names_have_examples():
    assert [name for name in FIRST if ">>>" not in getattr(oceanvar, name).__doc__] == []


EXAMPLES = [name for name, each in PUBLIC.items() if ">>>" in (each.__doc__ or "")]


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    for example in doctest.DocTestFinder(recurse=False).find(PUBLIC[name], name):
        done = doctest.DocTestRunner().run(example)
        assert done.attempted > done.failed == 0
