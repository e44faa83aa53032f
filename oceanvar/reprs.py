"""What an object says of itself, as text and as HTML."""

from collections.abc import Iterable, Sequence
from html import escape

Rows = Sequence[tuple[str, str]]
"""What is said, and of what; a row without a name goes on with the one above."""


def as_text(title: str, rows: Rows) -> str:
    """A title and one line for each row."""
    width = max(len(name) for name, _ in rows)
    return "\n".join([f"<{title}>", *(f"  {name:{width}}  {said}".rstrip() for name, said in rows)])


def as_html(title: str, rows: Rows) -> str:
    """The same as a table."""
    style = 'style="text-align: left; vertical-align: top"'
    lines = [
        f"<tr><th {style}>{escape(name)}</th><td {style}>{escape(said)}</td></tr>" for name, said in rows
    ]
    return "\n".join(["<div>", f"<strong>{escape(title)}</strong>", "<table>", *lines, "</table>", "</div>"])


def listed(items: Iterable[str], most: int = 6) -> str:
    """Items with commas between, and how many more there are."""
    every = list(items)
    more = [f"and {len(every) - most} more"] if len(every) > most else []
    return ", ".join([*every[:most], *more])
