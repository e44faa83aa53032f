"""A run over an archive on the workers of a dask cluster.

Each worker solves a stretch of time and writes its own chunks or files; this process alone keeps the manifest.
A stretch whose worker died is done by another one, from its first unit that is not in the manifest.
"""

import logging
import queue
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from oceanvar.allocation import ENVIRONMENT
from oceanvar.archive.manifest import MANIFEST, Manifest
from oceanvar.archive.runs import AbstractTeam, ArchiveRun, Note, Record
from oceanvar.archive.stretches import Stretch, divided, missing
from oceanvar.errors import ConfigError, StoreError
from oceanvar.network.handles import has_device, resolve_device
from oceanvar.threads import best_number

if TYPE_CHECKING:
    from distributed import Client, Future

TOKEN = "cluster.token"
"""File beside the output that workers look for: where it is gone or another, they stop after their unit."""

_SECONDS_TO_CONNECT = 30
_WORKER_ENVIRONMENT = "distributed.nanny.pre-spawn-environ"
_POLL = 0.2
"""Seconds between two questions whether to stop."""


class ClusterTeam(AbstractTeam):
    """The workers of a dask cluster that have what a run needs.

    Parameters
    ----------
    client : distributed.Client
        Connection to the cluster.
    device : str
        Where to solve: "auto", "cpu", "cuda" or "cuda:1".
    resources : mapping of str to float
        What a worker must offer.

    Raises
    ------
    ConfigError
        If there is no worker, none offers the resources, or those that do lack the device or differ in it.
    """

    def __init__(self, client: "Client", device: str, resources: Mapping[str, float]) -> None:
        self.client = client
        self.resources = dict(resources)
        offers = client.run(_offer, device)
        if not offers:
            raise ConfigError(
                "the cluster has no worker yet: start some, and wait for them with client.wait_for_workers(n)"
            )
        suitable = {where: each for where, each in offers.items() if each.has(self.resources)}
        if not suitable:
            lines = [f"  {where}: {each.resources or 'none'}" for where, each in sorted(offers.items())]
            raise ConfigError(
                f"no worker offers the resources {self.resources}; they offer:\n" + "\n".join(lines) + "\n"
                "Start workers with them (dask worker --resources GPU=1), or do not ask for them."
            )
        self.workers = sorted(suitable)
        self.device = _common_device(suitable, device)
        self.n_threads = min(each.n_threads for each in suitable.values())

    def divided(self, gaps: list[Stretch]) -> list[Stretch]:
        """Give each worker one stretch, so that few patches touch two of them."""
        return divided(gaps, len(self.workers))

    def work(self, run: ArchiveRun, stretches: Sequence[Stretch], note: Note) -> None:
        """Have the stretches done by the workers, and note each unit as it is finished.

        Raises
        ------
        StoreError
            If a worker does not see the output, or workers die again and again. Any error of a worker is raised
            here, when the others have finished their units.
        """
        file, token = run.writer.folder.parent / TOKEN, uuid4().hex
        inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.client.subscribe_topic(token, lambda event: inbox.put(event[1]))
        file.write_text(token)
        away = replace(run, stop=Withdrawn(file, token))
        futures: dict[Future, Stretch] = {}
        try:
            self._check_shared(away)
            for stretch in stretches:
                future = self.client.submit(
                    _solve, away, stretch, token, resources=self.resources or None, pure=False
                )
                futures[future] = stretch
                future.add_done_callback(inbox.put)
            _follow(futures, inbox, run, note)
        finally:
            file.unlink(missing_ok=True)
            self.client.cancel(list(futures))
            self.client.unsubscribe_topic(token)

    def _check_shared(self, run: ArchiveRun) -> None:
        blind = [where for where, gone in self.client.run(run.stop, workers=self.workers).items() if gone]
        if blind:
            raise StoreError(
                f"the workers {blind} do not see the output {str(run.writer.folder)!r}: a cluster needs a file "
                "system that all its machines share"
            )


@dataclass(frozen=True)
class Withdrawn:
    """Tells a worker to stop: its task was withdrawn, or the process that gave it works no more.

    Parameters
    ----------
    file : Path
        Where the token of the run is.
    token : str
        What the file holds while the task is wanted.
    """

    file: Path
    token: str

    def __call__(self) -> bool:
        """Say whether the task is no longer wanted."""
        try:
            return self.file.read_text() != self.token
        except FileNotFoundError:
            return True


@contextmanager
def connected(n_workers: int | None, scheduler: str | None) -> "Iterator[Client | None]":
    """Connect to a cluster, or start one on this machine for as long as the context lasts.

    Parameters
    ----------
    n_workers : int, optional
        Worker processes of one thread each to start here.
    scheduler : str, optional
        Address of the scheduler of a cluster: ``tcp://node1:8786``, or a ``scheduler.json`` file.

    Yields
    ------
    distributed.Client or None
        None where neither is given.

    Raises
    ------
    ConfigError
        If both are given, or dask.distributed is not installed.
    StoreError
        If no scheduler answers there.
    """
    if n_workers is None and scheduler is None:
        yield None
        return
    if n_workers is not None and scheduler is not None:
        raise ConfigError("workers are started here or are those of a scheduler: give one of the two")
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ConfigError("clusters need dask.distributed: pip install 'oceanvar[distributed]'") from error
    if n_workers is not None:
        # A limit of memory would make dask kill workers; theirs is bounded as that of a single process is.
        options: dict[str, Any] = {"threads_per_worker": 1, "memory_limit": 0, "dashboard_address": ":0"}
        options["silence_logs"] = logging.CRITICAL
        kept = {f"{_WORKER_ENVIRONMENT}.{name}": value for name, value in ENVIRONMENT.items()}
        with _without_interrupts(), dask.config.set(kept):
            cluster = LocalCluster(n_workers=n_workers, **options)
        with cluster, Client(cluster) as client:
            yield client
        return
    where: dict[str, Any] = (
        {"scheduler_file": scheduler} if str(scheduler).endswith(".json") else {"address": scheduler}
    )
    try:
        client = Client(**where, timeout=_SECONDS_TO_CONNECT)
    except (OSError, ValueError) as error:
        raise StoreError(f"no scheduler answers at {scheduler!r}: {error}") from error
    with client:
        yield client


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach: a terminal sends it to all, and this one ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass(frozen=True)
class _Offer:
    """What a worker has."""

    resources: dict[str, float]
    device: str | None
    n_threads: int

    def has(self, wanted: Mapping[str, float]) -> bool:
        return all(self.resources.get(name, 0) >= n for name, n in wanted.items())


def _offer(device: str, dask_worker: Any) -> _Offer:
    """Say what this worker has; dask gives the worker."""
    resolved = resolve_device(device).split(":")[0] if has_device(device) else None
    return _Offer(dict(dask_worker.state.total_resources), resolved, best_number())


def _common_device(offers: Mapping[str, _Offer], device: str) -> str:
    lacking = [where for where, each in sorted(offers.items()) if each.device is None]
    if lacking:
        raise ConfigError(f"device is {device!r}, but torch sees no GPU on the workers {lacking}")
    kinds = {str(each.device): where for where, each in sorted(offers.items())}
    if len(kinds) > 1:
        raise ConfigError(
            f"{' and '.join(f'{where} has the device {kind!r}' for kind, where in kinds.items())}, and their "
            "results would differ in the last digits: choose one with device=, or workers with resources="
        )
    return kinds.popitem()[0]


def _solve(run: ArchiveRun, stretch: Stretch, topic: str) -> list[Record]:
    """Do the units of a stretch that the manifest lacks, on a worker, and tell of each at once."""
    from distributed import get_worker

    worker, records = get_worker(), []

    def note(record: Record) -> None:
        records.append(record)
        worker.log_event(topic, record)

    manifest = Manifest.read(run.writer.folder.parent / MANIFEST)
    done = {unit["unit"] for unit in manifest.units} if manifest is not None else set()
    for gap in missing(done, stretch):
        if not run.stop():
            run.solve_stretch(gap, note)
    return records


def _follow(
    futures: "Mapping[Future, Stretch]", inbox: queue.SimpleQueue[Any], run: ArchiveRun, note: Note
) -> None:
    """Note what the workers tell until all have ended; after an error or a request to stop have them end."""
    n_left, failure = len(futures), None
    file = run.writer.folder.parent / TOKEN
    while n_left:
        try:
            item = inbox.get(timeout=_POLL)
        except queue.Empty:
            item = None
        if isinstance(item, dict):
            note(item)
        elif item is not None:
            n_left -= 1
            error = _error(item, futures[item], run)
            failure = failure or error
            for record in item.result() if error is None else []:
                note(record)
        if failure is not None or run.stop():
            file.unlink(missing_ok=True)
    if failure is not None:
        raise failure


def _error(future: "Future", stretch: Stretch, run: ArchiveRun) -> BaseException | None:
    """Error of a task that has ended, in our words where it is the cluster's."""
    from distributed import KilledWorker

    if future.status == "finished":
        return None
    first, last = (run.writer.name(unit) for unit in (stretch[0], stretch[1] - 1))
    where = f"the stretch from {first} to {last}"
    if future.status != "error":
        return StoreError(f"the cluster dropped {where} ({future.status}): resume to go on")
    error = future.exception()
    if isinstance(error, KilledWorker):
        return StoreError(
            f"workers died again and again at {where} ({error}): see their logs (too little memory?), resume to go on"
        )
    return error
