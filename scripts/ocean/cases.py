"""The oceans of `scripts.ocean`: how large, what is learned from, and which months are scored."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

import oceanvar
from oceanvar.labels.coordinates import KM_PER_DEGREE
from oceanvar.observing import AbstractSampler, AnyPart, Nadirs, Swath, Together
from oceanvar.truths.oceans import GRADIENT, MEAN_TEMPERATURE
from scripts.keeping import kept

MISSIONS = ("jason", "sentinel3a", "sentinel3b", "altika")
ALTIMETERS: dict[str, AbstractSampler] = {
    "4 nadirs": Nadirs(MISSIONS),
    "4 nadirs + SWOT": Together([Nadirs(MISSIONS), Swath("swot")]),
}
NOISE = 0.02
"""Standard deviation of the white error of every observed cell, m."""

MARGIN = 10
"""Days on both sides of a month that are mapped but not scored."""

BOX = ("latitude", "longitude")
BOX_SIZE = 10.0
"""Of the periodic box along both, degrees."""
DIMS = ("time", *BOX)
FIRST_TRAINING_SEED, FIRST_VALIDATION_SEED, FIRST_TUNING_SEED, FIRST_TEST_SEED = 1000, 2000, 3000, 4000


@dataclasses.dataclass(frozen=True)
class Scale:
    """How large an experiment is.

    `patch` is (days, cells), lengths are candidates of optimal interpolation, `n_flow` are points of the model of
    4D-Var along latitude and longitude, and `n_window` the days of its window. `step_widths` are those of a learned
    step of a day, and `n_epochs_step` how long it learns single days and forecasts.
    """

    resolution: float
    n_spinup: int
    n_years: int
    n_days: int
    n_month: int
    n_months: int
    patch: tuple[int, int]
    overlap: tuple[int, int]
    widths: tuple[int, ...]
    n_features: int
    n_epochs: int
    n_samples: int
    n_epochs_solver: int
    n_epochs_temperature: int
    n_epochs_sampling: int
    n_epochs_alone: int
    n_steps: int
    n_flow: int
    n_window: int
    n_iterations: tuple[int, ...]
    step_widths: tuple[int, ...]
    n_epochs_step: tuple[int, int]
    lengths_km: tuple[float, ...]
    lengths_days: tuple[float, ...]
    n_nearest: int

    @property
    def n_points(self) -> int:
        """Points of the box along latitude and longitude."""
        return round(BOX_SIZE / self.resolution)


SCALES = {
    "full": Scale(
        resolution=0.1, n_spinup=250, n_years=6, n_days=365, n_month=30, n_months=10,
        patch=(25, 64), overlap=(19, 32), widths=(48, 64, 96, 96), n_features=16,
        n_epochs=60, n_samples=2000, n_epochs_solver=15, n_epochs_temperature=15,
        n_epochs_sampling=3, n_epochs_alone=30, n_steps=2,
        n_flow=72, n_window=16, n_iterations=(0, 5, 10, 20, 40),
        step_widths=(16, 48, 64), n_epochs_step=(40, 10),
        lengths_km=(40, 50, 65, 85), lengths_days=(5, 8, 11, 15), n_nearest=60,
    ),
    "tiny": Scale(
        resolution=0.3125, n_spinup=2, n_years=1, n_days=20, n_month=8, n_months=2,
        patch=(6, 16), overlap=(3, 8), widths=(8, 8), n_features=4,
        n_epochs=2, n_samples=4, n_epochs_solver=2, n_epochs_temperature=2,
        n_epochs_sampling=2, n_epochs_alone=2, n_steps=1,
        n_flow=24, n_window=7, n_iterations=(0, 2, 4),
        step_widths=(4, 4), n_epochs_step=(2, 1),
        lengths_km=(50, 85), lengths_days=(8,), n_nearest=20,
    ),
}  # fmt: skip


def space(scale: Scale, covariates: Sequence[str] = ()) -> oceanvar.StateSpace:
    """Sea level in patches."""
    patch, overlap = (dict(zip(DIMS, (n[0], n[1], n[1]), strict=True)) for n in (scale.patch, scale.overlap))
    return oceanvar.StateSpace(("ssh",), DIMS, patch, overlap, covariates=tuple(covariates))


def seen_anywhere(scale: Scale, samplers: Sequence[AbstractSampler]) -> AnyPart:
    """Parts of what instruments see of the box in a year."""
    truth = oceanvar.quasigeostrophic(1, resolution=scale.resolution, n_spinup=0)
    coords = {dim: truth[dim].values for dim in BOX}
    coords["time"] = np.datetime64("1998-01-01", "ns") + np.arange(scale.n_days) * np.timedelta64(1, "D")
    sizes = {"variable": 1, **{dim: len(coords[dim]) for dim in DIMS}}
    rng = np.random.default_rng(0)
    return AnyPart([sampler.mask(sizes, coords, rng)[0] for sampler in samplers])


def ocean(out: Path, scale: Scale, seed: int, n_days: int, start: str) -> xr.Dataset:
    """Sea level of one simulated ocean and the departure of its temperature from the mean, kept in a file."""

    def simulate() -> xr.Dataset:
        truth = oceanvar.quasigeostrophic(
            n_days, seed, resolution=scale.resolution, n_spinup=scale.n_spinup, start=start
        )
        mean = MEAN_TEMPERATURE + GRADIENT * KM_PER_DEGREE * (truth["latitude"] - truth["latitude"].mean())
        departure = (truth["sst"] - mean).astype(np.float32).assign_attrs(truth["sst"].attrs)
        return truth.assign(sst=departure)

    return kept(out / "oceans" / f"{seed}.nc", simulate)


def years(
    out: Path, scale: Scale, first_seed: int, n_years: int, names: Sequence[str] = ("ssh",)
) -> xr.Dataset:
    """Years and their mirror images along ``trajectory``, continued beyond the periodic box by a patch."""
    oceans = [
        ocean(out, scale, seed, scale.n_days, "2001-01-01")[list(names)].drop_vars(["time", *BOX])
        for seed in range(first_seed, first_seed + n_years)
    ]
    both = [each for one in oceans for each in (one, mirrored(one))]
    margin = dict.fromkeys(BOX, (0, scale.patch[1] - 1))
    return xr.concat(both, "trajectory", combine_attrs="drop").pad(margin, mode="wrap")


def mirrored(truth: xr.Dataset) -> xr.Dataset:
    """Ocean with south and north exchanged: its eddies turn the other way and obey the same equation."""
    swapped = truth.isel(latitude=slice(None, None, -1))
    return swapped.map(lambda field: -field, keep_attrs=True)


def month(out: Path, scale: Scale, seed: int, number: int) -> xr.Dataset:
    """Truth of a month and the margins around it; each begins at another date."""
    start = np.datetime64("2005-01-01") + 61 * number
    return ocean(out, scale, seed, scale.n_month + 2 * MARGIN, str(start))


def observed(truth: xr.Dataset, sampler: AbstractSampler) -> xr.Dataset:
    """Sea level as a sampler sees it."""
    return truth[["ssh"]].varnet.observe(sampler, noise_std=NOISE, seed=int(truth.attrs["seed"]))


def scored(field: xr.DataArray) -> xr.DataArray:
    """Days and cells of a month that are scored: no margins, every second cell."""
    return field[MARGIN:-MARGIN, ::2, ::2]


SCORES = ("mu", "sigma", "lambda_x", "lambda_t", "rmse", "r_score")


def scores_of(field: xr.DataArray, targets: xr.DataArray) -> dict[str, float]:
    """Scores of one analysis of a month."""
    found = field.varnet.score(targets).isel(variable=0)
    return {key: float(found[key]) for key in SCORES if key in found}


def over_months(folder: Path, scale: Scale, make: Callable[[int], dict]) -> list[dict]:
    """Scores of every month, each from a file if an earlier run has come so far."""
    months = []
    for number in range(scale.n_months):
        months.append(kept(folder / f"{number}.json", functools.partial(make, number)))
        print(f"month {number + 1} of {scale.n_months}: {months[-1]}", flush=True)
    return months
