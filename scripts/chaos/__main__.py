"""Chaos: outputs of archives that are killed, harmed and mended again, each round in the end what it should be.

    python -m scripts.chaos --rounds 200 --seed 0

A round makes an output of one layout out of small files, with two to seven of these in any order: a run that is killed
(at a moment of time, or before an operation on files); a run to its end; a file of the output or of the record that is
deleted, emptied, cut, or in which a bit is flipped; a file of observations that is added or replaced, also while a run
is at work. After each a reader looks: what has the name of the output must be that of an undisturbed run, bit by bit,
or `verify` must name what is wrong. A last run, which reads what is there, must give that of an undisturbed run. It may
refuse, with a message of ours, only where the record was harmed, or where a run that takes no other files has got some;
then `--overwrite` must do it.
"""

import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import click
import numpy as np
import torch

from scripts.chaos.rounds import BadRoundError, Chaos, Round
from scripts.chaos.runs import LAYOUTS


@click.command(help=__doc__)
@click.option(
    "--rounds", default=200, show_default=True, help="How many; the layouts take turns. Ctrl-C ends."
)
@click.option("--first", default=0, show_default=True, help="Number of the first.")
@click.option("--seed", default=0, show_default=True, help="Of what happens in them.")
def main(rounds: int, first: int, seed: int) -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it in the background
    began, n_bad, n_played = time.perf_counter(), 0, 0
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder, suppress(KeyboardInterrupt):
        chaos = Chaos(Path(folder))
        for number in range(first, first + rounds):
            name = list(LAYOUTS)[number % len(LAYOUTS)]
            played = Round(chaos, name, np.random.default_rng([seed, number]))
            try:
                played.play()
            except BadRoundError as error:
                n_bad += 1
                click.echo("\n  ".join([f"round {number}, {name}: {error}", *played.log]))
            n_played += 1
    for what, n in sorted(chaos.counts.items()):
        click.echo(f"{n:6} {what}")
    click.echo(f"{n_bad} of {n_played} rounds went wrong, {time.perf_counter() - began:.0f} s")
    sys.exit(n_bad > 0)


if __name__ == "__main__":
    main()
