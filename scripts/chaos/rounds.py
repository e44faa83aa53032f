"""A round: an output that is made, harmed and mended a few times, and must be right in the end."""

import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from oceanvar.archive.kept_sums import SUMS
from oceanvar.archive.manifest import INDEX, MANIFEST
from oceanvar.archive.outputs import run_folder
from oceanvar.files.writing import PART
from scripts.chaos import runs
from scripts.chaos.harms import harmed
from scripts.chaos.inputs import DAYS, Inputs, State, small_model
from scripts.chaos.runs import DONE, KILLED, LAYOUTS, REFUSED, TOLD, End, Layout, begun, ended

OF_THE_RUN = {INDEX, MANIFEST, SUMS}
_N_OPERATIONS = 90
"""Most operations on files that a run does before it is killed: few have more."""


class BadRoundError(Exception):
    """Something was lost, or wrong and not told."""


class Chaos:
    """What rounds have in common: observations, a model, and right outputs to compare with.

    Parameters
    ----------
    folder : Path
        An empty folder to work in.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inputs = Inputs(folder)
        self.model = small_model()
        self._references: dict[tuple[str, State], Path] = {}
        self.counts: Counter[str] = Counter()
        self.inputs.begin(2)
        for name in ("zarr", "monthly netcdf"):
            path = folder / "first" / name / LAYOUTS[name].name
            path.parent.mkdir(parents=True)

            def work(path: Path = path, layout: Layout = LAYOUTS[name]) -> None:
                runs.run(self.inputs.obs, self.model, path, layout)
                runs.looked(path, [path])

            runs.imported(work, folder / "modules")

    def reference(self, name: str) -> Path:
        """The output of a run that nothing happens to, over the files as they are."""
        key = (name, self.inputs.content)
        if key not in self._references:
            folder = self.folder / "references" / str(len(self._references))
            folder.mkdir(parents=True)
            path, layout = folder / LAYOUTS[name].name, LAYOUTS[name]
            end = self.ended(partial(runs.run, self.inputs.obs, self.model, path, layout))
            if end.code != DONE:
                raise BadRoundError(f"a run that nothing happened to ended with {end}")
            self._references[key] = path
        return self._references[key]

    def ended(self, work: Callable[[], int | None], meanwhile: Callable[[int], None] | None = None) -> End:
        """Do work in a process of its own, and something else beside it that is given its number."""
        log = self.folder / "log"
        child = begun(work, log)
        if meanwhile is not None:
            meanwhile(child)
        return ended(child, log)


class Round:
    """One round.

    Parameters
    ----------
    chaos : Chaos
        What all rounds share.
    name : str
        One of `LAYOUTS`.
    rng : Generator
        Chooses what happens.
    """

    def __init__(self, chaos: Chaos, name: str, rng: np.random.Generator) -> None:
        self.chaos, self.name, self.rng = chaos, name, rng
        self.layout: Layout = LAYOUTS[name]
        self.output = chaos.folder / "out" / self.layout.name
        shutil.rmtree(self.output.parent, ignore_errors=True)
        self.output.parent.mkdir()
        self.inputs = chaos.inputs
        self.inputs.begin(int(rng.integers(4, len(DAYS) - 2)))
        self.begun_with: State | None = None
        self.may_be: list[Path] = []
        self.is_harmed = self.is_record_harmed = False
        self.log: list[str] = []

    def play(self) -> None:
        """Let some things happen, then mend all.

        Raises
        ------
        BadRoundError
            If something was lost, or wrong and not told.
        """
        self.killed_run()
        harms = [self.harm] * 4
        events = [*harms, self.run, self.killed_run, self.killed_run, self.other_inputs, self.meanwhile]
        for number in self.rng.integers(len(events), size=self.rng.integers(2, 8)):
            events[number]()
            if events[number] != self.other_inputs:
                self.look()
        self.finish()

    def _note(self, what: str, end: End | None = None) -> None:
        self.log.append(what if end is None else f"{what}: {end.code} {end.said[-600:]}")
        self.chaos.counts[what.split(":")[0]] += 1

    def _work(self, **more: bool) -> Callable[[], None]:
        return partial(runs.run, self.inputs.obs, self.chaos.model, self.output, self.layout, **more)

    def _begins(self) -> Path:
        """Note that a run over the files as they are begins; its result may be seen from now on."""
        right = self.chaos.reference(self.name)
        self.begun_with = self.begun_with or self.inputs.state
        self.may_be.append(right)
        return right

    def run(self) -> None:
        """Run to the end, or to a refusal that there is a reason for."""
        right, is_deep = self._begins(), bool(self.rng.random() < 0.5)
        end = self.chaos.ended(self._work(verify=is_deep))
        self._note("run", end)
        self._check_end(end)
        if end.code == DONE:
            self.may_be = [right]
            if is_deep:
                self._check_right()

    def _check_end(self, end: End) -> None:
        if end.code not in (DONE, REFUSED):
            raise BadRoundError("it ended with no message of ours")
        if end.code == REFUSED and not self._may_refuse():
            raise BadRoundError("it refused though nothing had changed that it cannot mend")

    def _may_refuse(self) -> bool:
        return self.is_record_harmed or not (self.layout.grows or self.inputs.state == self.begun_with)

    def killed_run(self) -> None:
        """Begin, or go on, and be killed at a moment of time or before an operation on files."""
        self._begins()
        if self.rng.random() < 0.5:
            number = int(self.rng.integers(_N_OPERATIONS))
            end = self.chaos.ended(runs.killed_at(number, self._work()))
        else:
            seconds = float(self.rng.uniform(0, 0.8))

            def killed(child: int) -> None:
                time.sleep(seconds)
                os.kill(child, signal.SIGKILL)

            end = self.chaos.ended(self._work(), killed)
        self._note("killed run" if end.code == KILLED else "run, not killed in time", end)
        if end.code != KILLED:
            self._check_end(end)

    def harm(self) -> None:
        """Harm a file of the output, of what is begun, or of the record."""
        of_record = bool(self.rng.random() < 0.25)
        if not of_record:
            places = [
                self.output,
                run_folder(self.output) / self.output.name,
                run_folder(self.output) / "append",
            ]
            places = [each for each in places if each.exists()]
            where = places[self.rng.integers(len(places))] if places else self.output
        else:
            where = run_folder(self.output)
        found = harmed(where, self.rng)
        if found is not None:
            self.is_harmed = True
            self.is_record_harmed |= found[1].name == MANIFEST
            what = "record" if found[1].parent.name.endswith(".run") else "data"
            self._note(f"file of {what} {found[0]}: {found[1].relative_to(self.output.parent)}")

    def other_inputs(self) -> None:
        """Add a file, or replace one."""
        if self.rng.random() < 0.6 and self.inputs.add():
            self._note("file added")
        else:
            self._replace()

    def _replace(self) -> None:
        self.inputs.replace(int(self.rng.integers(len(self.inputs.state))))
        self._note("file replaced")

    def meanwhile(self) -> None:
        """Replace a file while a run is at work: it ends with the files as they were, or names the one."""
        self._begins()
        seconds = float(self.rng.uniform(0, 0.5))

        def replaced(child: int) -> None:
            time.sleep(seconds)
            self._replace()

        end = self.chaos.ended(self._work(), replaced)
        self._note("run beside which a file is replaced", end)
        if end.code not in (DONE, REFUSED):
            raise BadRoundError("it ended with no message of ours")
        self._begins()

    def look(self) -> None:
        """Read the output as a user does: it is right, or verify says what is wrong with it."""
        if not self.output.exists():
            return
        end = self.chaos.ended(partial(runs.looked, self.output, self.may_be))
        if end.code == DONE:
            return
        self._note("look", end)
        if end.code != REFUSED and (end.code < 0 or not end.code & TOLD):
            raise BadRoundError("the output is wrong, and verify says nothing")
        if not self.is_harmed:
            raise BadRoundError("the output is wrong, though nothing harmed it")

    def _check_right(self) -> None:
        end = self.chaos.ended(partial(runs.looked, self.output, self.may_be))
        if end.code != DONE:
            self._note("check", end)
            raise BadRoundError("the output is not right after a run that looked at all of it")
        self.is_harmed = self.is_record_harmed = False

    def finish(self) -> None:
        """Mend all, and demand the result of a run that nothing happens to, with nothing beside it."""
        right = self._begins()
        end = self.chaos.ended(self._work(verify=True))
        self._note("last run", end)
        self._check_end(end)
        if end.code == REFUSED:
            end = self.chaos.ended(self._work(overwrite=True, verify=True))
            self._note("overwritten", end)
            if end.code == REFUSED and self.is_record_harmed and "remove it yourself" in end.said:
                shutil.rmtree(self.output)
                end = self.chaos.ended(self._work(overwrite=True))
                self._note("removed, begun anew", end)
            if end.code != DONE:
                raise BadRoundError("it cannot be begun anew")
        self.may_be = [right]
        self._check_right()
        left = sorted(os.listdir(self.output.parent))
        if left != [self.output.name, run_folder(self.output).name]:
            raise BadRoundError(f"left behind: {left}")
        left = [each for each in os.listdir(run_folder(self.output)) if not each.endswith(PART)]
        if not set(left) <= OF_THE_RUN:
            raise BadRoundError(f"left behind in the folder of the run: {left}")
