"""Methods that a command names: model files, and functions of the user's own modules."""

import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from oceanvar.errors import ConfigError


def imported(name: str) -> ModuleType:
    """Import a module of the user's, from the folder of the call too.

    Raises
    ------
    ConfigError
        If there is none, or it cannot be imported.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(f"the module {name!r} cannot be imported from {here!r}: {error}") from error


def methods_of(given: Iterable[str]) -> dict[str, str | Callable[..., Any]]:
    """Model files and functions, by the names of their rows.

    Parameters
    ----------
    given : iterable of str
        ``name.varnet`` or ``package.module:function``; the whole text names a row whose short name is taken.

    Raises
    ------
    ConfigError
        If a module cannot be imported, or has no such function.
    """
    rows: dict[str, str | Callable[..., Any]] = {}
    for each in given:
        name, method = _method_of(each)
        rows[each if name in rows else name] = method
    return rows


def _method_of(given: str) -> tuple[str, str | Callable[..., Any]]:
    module, colon, name = given.partition(":")
    if not colon or Path(given).exists():
        return Path(given).name.removesuffix(".varnet"), given
    function = getattr(imported(module), name, None)
    if not callable(function):
        raise ConfigError(f"the module {module!r} has no function {name!r}")
    return name, function
