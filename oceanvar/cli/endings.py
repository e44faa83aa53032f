"""How a command ends: exit codes, messages, signals."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from oceanvar.errors import OceanVarError, StoppedError

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

STOPPED = 75
"""Exit code after SIGTERM: a temporary failure, try again."""


class Group(click.Group):
    """Turns errors made on purpose into one message and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except StoppedError as stopped:
            click.echo(str(stopped), err=True)
            ctx.exit(STOPPED)
        except OceanVarError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)


@contextmanager
def told_to_stop() -> Iterator[Callable[[], bool]]:
    """Remember a SIGTERM, which is how a queue announces that it will kill a job."""
    told = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda number, frame: told.set())
    try:
        yield told.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
