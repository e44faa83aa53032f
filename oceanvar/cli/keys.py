"""What a training file may say: generated from the signatures and docstrings of what reads it."""

import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

from oceanvar.cli.config import CLIMATOLOGY, SECTIONS, Source
from oceanvar.cli.rules import RULES
from oceanvar.training.losses import LossWeights

WIDTH = 100

_PARAMETERS = re.compile(r"^Parameters\n-+\n(.*?)(?=^\S[^\n]*\n-+$|\Z)", re.MULTILINE | re.DOTALL)
_ENTRY = re.compile(r"^(\w+(?:, \w+)*) : (.*)\n((?:^ +.*\n?|^\n(?= ))*)", re.MULTILINE)


def key_lines() -> Iterator[str]:
    """A training file with every key: defaults as they are, what has none in comments."""
    for section, sources in SECTIONS.items():
        yield f"[{section}]"
        for source in sources:
            yield from _keys(source)
        yield ""
    yield from ("[training.weights]", *_keys(Source(LossWeights)), "")
    yield "# What climatology in [data] may say:"
    yield from (*_keys(CLIMATOLOGY, all_in_comments=True), "")
    yield "# What a sampler in [data.observations] or withhold in [data] may be, and its options:"
    for name, made in RULES.items():
        yield "#"
        yield from _filled(f'sampler = "{name}"', made.__doc__ or "")
        yield from _keys(Source(made), all_in_comments=True)


def documented(described: Callable[..., Any]) -> dict[str, tuple[str, str]]:
    """Type and description of each parameter in a docstring of numpydoc's form."""
    found = _PARAMETERS.search(inspect.cleandoc(described.__doc__ or ""))
    entries = _ENTRY.findall(found[1] + "\n") if found else []
    return {
        name: (kind, " ".join(said.split())) for names, kind, said in entries for name in names.split(", ")
    }


def _keys(source: Source, all_in_comments: bool = False) -> Iterator[str]:
    told = documented(source.described)
    for name, default in source.defaults.items():
        kind, said = told[name]
        yield from _filled("", f"{said} ({kind})")
        text = _toml(default)
        needed = "  # needed" if default is inspect.Parameter.empty else ""
        in_comment = all_in_comments or text is None
        yield f"{'# ' if in_comment else ''}{name} = {'...' if text is None else text}{needed}"


def _filled(first: str, text: str) -> list[str]:
    """Summary and first paragraph of a text as comment."""
    paragraph = " ".join(inspect.cleandoc(text).split("\n\n")[0].split())
    filled = textwrap.fill(
        f"{first}: {paragraph}" if first else paragraph,
        WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_on_hyphens=False,
    )
    return filled.splitlines()


def _toml(value: Any) -> str | None:
    """A default as TOML writes it; None where there is none, or it is a table of its own."""
    if value is None or value is inspect.Parameter.empty or is_dataclass(value):
        return None
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(str(_toml(each)) for each in value) + "]"
    return json.dumps(value)
