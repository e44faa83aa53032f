"""What the model of `scripts.agulhas` is compared with, and how: interpolations, and scores of withheld cells."""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from oceanvar.baselines import fit_lengths, interpolate_linear, optimal_interpolation
from oceanvar.metrics import bootstrap_difference, root_mean_square
from oceanvar.plots import plot_comparison

MEAN, LINEAR, OURS = "mean of the training months", "linear interpolation", "4DVarNet"
OI, OI_DAILY = "optimal interpolation", "optimal interpolation, each day's mean apart"
N_NEAREST = 100
STRIDE = 2  # of the cells that are scored, along latitude and longitude
N_DAYS = 7  # of a unit of the bootstrap


@dataclass(frozen=True)
class Candidates:
    """What the scales of optimal interpolation are chosen from; lengths along latitude and longitude differ."""

    days: tuple[float, ...]
    km: tuple[float, ...]
    noises: tuple[float, ...]


def interpolate(
    truth: xr.DataArray, obs: xr.DataArray, train: np.ndarray, test: np.ndarray, candidates: Candidates
) -> xr.DataArray:
    """Maps of the test days by methods that learn a mean map and scales from the training days.

    Parameters
    ----------
    truth, obs : DataArray
        One variable on all days, ``(time, latitude, longitude)``; NaN on land, and in `obs` where withheld.
    train, test : ndarray of bool
        Days of the months for training and for the test.
    candidates : Candidates
        Scales to try.

    Returns
    -------
    DataArray
        ``(method, time, latitude, longitude)``; optimal interpolations only at the withheld cells that are
        scored, and at all of the middle day. The attribute ``scales`` holds their scales as JSON.
    """
    mean = truth[train].mean("time")
    anomaly, hidden = obs - mean, obs.isnull() & truth.notnull()
    maps = {
        MEAN: mean.expand_dims(time=obs.time[test]),
        LINEAR: interpolate_linear(obs, fill=mean)[test],
    }
    wanted = xr.zeros_like(hidden[test])
    wanted[:, ::STRIDE, ::STRIDE] = True
    wanted[wanted.sizes["time"] // 2] = True
    # Winds move the whole region from one day to the next; one covariance knows of no such component.
    common, scales = anomaly.mean(anomaly.dims[1:]), {}
    for method, offset in ((OI, 0 * common), (OI_DAILY, common)):
        left = (truth - mean - offset).where(hidden)
        scales[method] = choose_scales((anomaly - offset)[train], left[train], candidates)
        print(f"{obs.name}, {method}: {scales[method]}", flush=True)
        maps[method] = by_oi(anomaly - offset, hidden[test] & wanted, scales[method]) + mean + offset[test]
    methods = xr.DataArray(list(maps), dims="method", name="method")
    joined = xr.concat([each.transpose(*obs.dims) for each in maps.values()], methods, coords="minimal")
    return joined.astype(np.float32).rename(obs.name).assign_attrs(scales=json.dumps(scales))


def choose_scales(anomaly: xr.DataArray, truth: xr.DataArray, candidates: Candidates) -> dict:
    """Lengths and noise of the optimal interpolation that comes nearest to the truth where it is known."""
    _, latitude, longitude = anomaly.dims
    lengths = [
        {"time": days, latitude: north, longitude: east}
        for days, north, east in itertools.product(candidates.days, candidates.km, candidates.km)
    ]
    found = []
    for noise in candidates.noises:
        best, table = fit_lengths(
            anomaly, lengths, noise, truth=truth, mean=0.0, n_targets=500, n_nearest=N_NEAREST
        )
        found.append({"lengths": best, "noise": noise, "rmse": float(table.rmse.min())})
    return min(found, key=lambda each: each["rmse"])


def by_oi(anomaly: xr.DataArray, cells: xr.DataArray, scales: Mapping) -> xr.DataArray:
    """Optimal interpolation at the cells that are True, NaN elsewhere."""
    points = cells.stack(point=cells.dims, create_index=False)
    points = points.isel(point=np.flatnonzero(points.values))
    found = optimal_interpolation(
        anomaly.rename("anomaly"),
        scales["lengths"],
        scales["noise"],
        mean=0.0,
        targets=points,
        n_nearest=N_NEAREST,
    )
    field = xr.full_like(cells, np.nan, dtype=np.float32)
    field.values[cells.values] = found["anomaly"].values
    return field


def table(truth: xr.DataArray, obs: xr.DataArray, maps: Mapping[str, xr.DataArray]) -> dict[str, dict]:
    """Root mean square errors over withheld cells, every second one, with intervals over weeks.

    Errors of a day resemble those of the day before, so a week is the unit that is drawn again. Units are
    those of the variable.
    """
    truth, obs = truth[:, ::STRIDE, ::STRIDE], obs[:, ::STRIDE, ::STRIDE]
    hidden = obs.isnull() & truth.notnull()
    space = truth.dims[1:]
    starts = np.arange(0, truth.sizes["time"] - N_DAYS + 1, N_DAYS)
    counts = np.add.reduceat(hidden.sum(space).values, starts)
    rows, squares = {}, {}
    for name, each in maps.items():
        errors = ((each[:, ::STRIDE, ::STRIDE] - truth) ** 2).where(hidden)
        if int(errors.count()) != counts.sum():
            raise ValueError(f"{name} has no value at some withheld cells")
        squares[name] = np.add.reduceat(errors.sum(space).values.astype(np.float64), starts) / counts.mean()
        rmse, *interval = root_mean_square(squares[name])
        rows[name] = {"rmse": rmse, "interval": interval}
    for name in {OI, OI_DAILY} & set(maps):
        rows[OURS][f"mse minus that of {name}"] = [
            float((squares[OURS] - squares[name]).mean()),
            *bootstrap_difference(squares[OURS], squares[name]),
        ]
    return {**rows, "n": {"weeks": len(starts), "cells": int(counts.sum())}}


def by_method(joined: xr.DataArray) -> dict[str, xr.DataArray]:
    """Maps of `interpolate`, apart."""
    return {str(name): joined.sel({"method": name}, drop=True) for name in joined.method.values}


def draw(truth: xr.DataArray, obs: xr.DataArray, maps: Mapping[str, xr.DataArray]) -> Figure:
    """Draw the middle day; optimal interpolation is at the withheld cells, with the observations between them."""
    day = truth.sizes["time"] // 2
    shown = {"observations": obs[day]}
    for name in (OI_DAILY, OURS):
        shown[name] = maps[name][day].fillna(obs[day]).where(truth[day].notnull())
    reference = truth[day].assign_attrs(units="m/s", long_name=str(truth.name).replace("_", " "))
    return plot_comparison(shown, truth=reference)
