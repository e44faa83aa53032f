"""Each family of priors on both problems, its number chosen on validation fields, scored on a third year.

python -m scripts.priors
"""

import resource
import time
import warnings
from typing import Any

import click
import numpy as np
import torch
import xarray as xr

import oceanvar
from oceanvar.errors import MendedWarning
from scripts.benchmarks import machine
from scripts.priors.families import FAMILIES, Family
from scripts.priors.problems import FULL, SMALL, Problem, problems


@click.command(help=__doc__)
@click.option("--problem", "names", multiple=True, default=["clouds", "footprint"], show_default=True)
@click.option("--family", "chosen", multiple=True, help="Names of families; all by default.")
@click.option("--small", is_flag=True, help="Tiny: to try the command.")
def main(names: tuple[str, ...], chosen: tuple[str, ...], small: bool) -> None:
    """Print a table for each problem."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", MendedWarning)
    scale = SMALL if small else FULL
    click.echo(machine.described())
    for problem in problems(scale):
        if problem.name not in names:
            continue
        truth = problem.test
        click.echo(f"\n{problem.name}: standard deviation {float(truth['sst'].std()):.3f} K")
        click.echo(
            f"{'family':24}{'needs':32}{'rmse':>7}{'low':>7}{'high':>7}{'number':>8}{'learn s':>9}{'day s':>8}"
            f"{'MiB':>7}"
        )
        for family in FAMILIES:
            if (chosen and family.name not in chosen) or (
                family.name == "U-Net" and problem.name != "clouds"
            ):
                continue
            click.echo(row(problem, family, scale))


def row(problem: Problem, family: Family, scale: Any) -> str:
    """Error on the test year with an interval over windows, and what it costs."""
    torch.manual_seed(0)
    began = time.process_time()
    prepared = family.prepare(problem, scale)
    learned = time.process_time() - began
    seen = problem.observed(problem.validation, 1)
    errors = {
        number: float((squares(problem, family, prepared, number, seen, problem.validation)).mean())
        for number in family.choices
    }
    number = min(errors, key=errors.__getitem__)
    seen = problem.observed(problem.test, 2)
    began = time.process_time()
    each = squares(problem, family, prepared, number, seen, problem.test)
    spent = (time.process_time() - began) / problem.test.sizes["time"]
    draws = np.random.default_rng(0).integers(len(each), size=(1000, len(each)))
    low, high = np.quantile(each[draws].mean(1), [0.025, 0.975]) ** 0.5
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return (
        f"{family.name:24}{family.needs:32}{each.mean() ** 0.5:7.3f}{low:7.3f}{high:7.3f}{number:8.3g}{learned:9.0f}"
        f"{spent:8.2f}{peak:7.0f}"
    )


def squares(
    problem: Problem, family: Family, prepared: Any, number: float, seen: xr.Dataset, truth: xr.Dataset
) -> np.ndarray:
    """Mean square error of each stretch of as many days as a patch has."""
    model = oceanvar.VarNet(family.model(problem, prepared, number), problem.space)
    analysis = seen.varnet.assimilate(model, overlap={"time": 2})
    n = problem.space.patch["time"]
    days = ((analysis["sst"] - truth["sst"]) ** 2).mean(("latitude", "longitude")).values
    return days[: len(days) // n * n].reshape(-1, n).mean(1)


if __name__ == "__main__":
    main()
