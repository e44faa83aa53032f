"""What oceanvar raises on purpose is of one family, so that a caller and the shell can tell it from a fault."""

import ast
import builtins
import inspect
from pathlib import Path

import pytest

import oceanvar
from oceanvar import errors
from oceanvar.archive.pipeline import ChannelClosedError

FILES = sorted(Path(oceanvar.__file__).parent.rglob("*.py"))
FAMILY = {
    name: each
    for name, each in vars(errors).items()
    if inspect.isclass(each) and not issubclass(each, Warning)
}
INTERNAL = {ChannelClosedError.__name__}
"""Never leaves its module."""


def raised(file: Path) -> set[str]:
    """Classes that a file raises by name; errors caught before and raised again have none."""
    nodes = [node.exc for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Raise)]
    called = [node.func if isinstance(node, ast.Call) else node for node in nodes]
    names = {each.id for each in called if isinstance(each, ast.Name)}
    return {name for name in names if name[0].isupper()}


@pytest.mark.parametrize("file", FILES, ids=lambda file: "/".join(file.parts[-2:]))
def test_everything_raised_on_purpose_is_of_the_family(file):
    assert raised(file) <= {*FAMILY, *INTERNAL, "ClickException"}


@pytest.mark.parametrize("error", FAMILY.values(), ids=FAMILY)
def test_each_error_is_also_what_a_caller_would_expect(error):
    assert issubclass(error, errors.OceanVarError)
    if error is not errors.OceanVarError:
        assert [each for each in error.__bases__ if each.__name__ in vars(builtins)], "of no built-in kind"
        assert error.__doc__
