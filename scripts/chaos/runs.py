"""Runs in processes of their own, which may be killed, and what a reader finds afterwards."""

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from oceanvar.archive import assimilate_archive, open_archive, verify
from oceanvar.errors import OceanVarError
from oceanvar.network import VarNet

DONE, REFUSED, BROKEN, KILLED = 0, 1, 2, -signal.SIGKILL
WRONG, UNREADABLE, TOLD = 16, 32, 64
"""What a look finds, added up: nothing where all is right."""

OPERATIONS = ("link", "rename", "replace", "fsync", "unlink", "rmdir", "mkdir")


@dataclass(frozen=True)
class Layout:
    """How an output is stored."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    grows: bool = False


LAYOUTS = {
    "zarr": Layout("out.zarr"),
    "sharded zarr": Layout(
        "out.zarr", {"chunks": {"time": 3, "lat": 6}, "shards": {"time": 9, "lat": 12}, "batch_size": 5}
    ),
    "monthly netcdf": Layout("out", {"period": "month"}),
    "daily netcdf": Layout("out", {"period": "day"}),
    "append, zarr": Layout("out.zarr", {}, grows=True),
    "append, netcdf": Layout("out", {"period": "month"}, grows=True),
}


@dataclass(frozen=True)
class End:
    """How a process ended, and what it said."""

    code: int
    said: str


def imported(work: Callable[[], None], listed: Path) -> None:
    """Import what some work imports, without doing it here, where it would start threads that no fork has."""

    def listing() -> None:
        work()
        listed.write_text("\n".join(sys.modules))

    os.waitpid(begun(listing, listed.with_suffix(".log")), 0)
    for name in listed.read_text().splitlines():
        with suppress(Exception):  # some modules are not to be imported by their names
            importlib.import_module(name)


def begun(work: Callable[[], int | None], log: Path) -> int:
    """Begin work in a forked process, and give its number.

    This process has imported everything and started no thread, so that a fork of it can do all that a new one can.
    """
    log.unlink(missing_ok=True)
    child = os.fork()
    if child:
        return child
    os.dup2(os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND), 2)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    try:
        os._exit(work() or DONE)
    except OceanVarError as error:
        print(error, file=sys.stderr)
        os._exit(REFUSED)
    except BaseException:
        traceback.print_exc()
        os._exit(BROKEN)


def ended(child: int, log: Path) -> End:
    """Wait for a process that was begun."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return End(code, log.read_text().strip() if log.exists() else "")


def run(obs: Path, model: VarNet, output: Path, layout: Layout, **more: Any) -> None:
    """Do, or go on with, a run."""
    how = {"append": True} if layout.grows else {"resume": True}
    assimilate_archive(obs, model, output, **how, **layout.options, **more)


def killed_at(number: int, work: Callable[[], None]) -> Callable[[], None]:
    """Work that ends without a word before one of its operations on files, counted from the first."""

    def watched() -> None:
        n_done = 0

        def counted(name: str) -> Callable[..., Any]:
            real = getattr(os, name)

            def operation(*arguments: Any, **options: Any) -> Any:
                nonlocal n_done
                n_done += 1
                if n_done > number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments, **options)

            return operation

        for name in OPERATIONS:
            setattr(os, name, counted(name))
        work()

    return watched


def looked(output: Path, references: list[Path]) -> int:
    """Read an analysis as a user does, and then let `verify` look."""
    found = verify(output)
    for name, what in found.items():
        print(name, what, file=sys.stderr)
    return _compared(output, references) + (TOLD if found else 0)


def _compared(output: Path, references: list[Path]) -> int:
    """Whether an analysis is, bit by bit, one of those that it may be."""
    try:
        with open_archive(output) as ds:
            ours = ds.load()
    except Exception as error:  # a reader is told, by whatever library it reads with
        print(error, file=sys.stderr)
        return UNREADABLE
    for reference in references:
        with open_archive(reference) as ds:
            other = ds.load()
        if set(ours.variables) == set(other.variables) and all(
            np.array_equal(ours[name].values, each.values, equal_nan=ours[name].dtype.kind == "f")
            for name, each in other.variables.items()
        ):
            return DONE
    return WRONG
