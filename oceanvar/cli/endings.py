"""How a command ends: exit codes, messages, signals."""

import logging
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from tqdm import tqdm

from oceanvar.errors import MendedWarning, OceanVarError, StoppedError

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

STOPPED = 75
"""Exit code after SIGTERM: a temporary failure, try again."""


class Group(click.Group):
    """Turns errors made on purpose into one message and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            with shown_warnings():
                return super().invoke(ctx)
        except StoppedError as stopped:
            click.echo(str(stopped), err=True)
            ctx.exit(STOPPED)
        except OceanVarError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)


class _Lines(logging.Handler):
    """Writes messages on stderr as lines of their own, above a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        self.write(record.getMessage())

    def write(self, line: str) -> None:
        """Write one line."""
        tqdm.write(line, file=sys.stderr)


@contextmanager
def shown_warnings() -> Iterator[None]:
    """Show what the package warns of, but not which files are left out: summaries and plans say that."""
    package, lines = logging.getLogger("oceanvar"), _Lines(logging.WARNING)
    lines.addFilter(lambda record: record.name != "oceanvar.archive.catalogue")
    package.addHandler(lines)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("once", MendedWarning)
            warnings.showwarning = lambda message, *_, **__: lines.write(f"Warning: {message}")
            yield
    finally:
        package.removeHandler(lines)


@contextmanager
def told_to_stop() -> Iterator[Callable[[], bool]]:
    """Remember a SIGTERM, which is how a queue announces that it will kill a job."""
    told = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda number, frame: told.set())
    try:
        yield told.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
