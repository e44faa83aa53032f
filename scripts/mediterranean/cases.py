"""What the commands of `scripts.mediterranean` share: maps, passes, and optimal interpolation between points."""

import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

from oceanvar.baselines import interpolate_tracks
from oceanvar.observing import anomalies, read_tracks, withhold_passes
from scripts.keeping import find_data

MAPS = "med_adt_2005/dt_med_allsat_phy_l4_2005T2.nc"
TRACKS = "med_tracks_2014/along_track_adt_20140515_20140603.txt"
N_LEARN = 61
"""Days of the maps that are learned from."""

NOISE = 0.02
DIMS = ("time", "latitude", "longitude")


class Sea(NamedTuple):
    """Maps, their mean over the days that are learned from, and passes: all, those assimilated, those withheld."""

    adt: xr.DataArray
    mean: xr.DataArray
    passes: xr.Dataset
    kept: xr.Dataset
    checks: xr.Dataset

    @property
    def anomaly(self) -> xr.DataArray:
        """Maps without the mean."""
        return (self.adt - self.mean).astype("float32")


def read(maps: Path | None, tracks: Path | None, score_at: Path | None = None) -> Sea:
    """Read the data given, or else those in OCEANVAR_DATA; a fifth of the passes is withheld but with `score_at`."""
    maps, tracks = maps or find(MAPS), tracks or find(TRACKS)
    adt = xr.open_dataset(maps)["adt"].load()
    passes = read_tracks(tracks)
    divided = (passes, read_tracks(score_at)) if score_at else withhold_passes(passes, 0.2, seed=2014)
    return Sea(adt, adt[:N_LEARN].mean("time"), passes, *divided)


def find(name: str) -> Path:
    """Path of a data file."""
    return find_data(name, "a piece of public altimetry", "--maps and --tracks")


def with_real(simulated: xr.DataArray, maps: xr.DataArray, seed: int) -> xr.Dataset:
    """Simulated anomalies and, for every four of them, the real ones with a random sign and size."""
    rng = np.random.default_rng(seed)
    n = simulated.sizes["member"] // 4
    factors = rng.choice([-1, 1], n) * rng.uniform(0.6, 1.6, n)
    real = maps.astype("float32") * xr.DataArray(factors.astype("float32"), dims="member")
    members = [each.transpose("member", *DIMS) for each in (simulated, real)]
    return xr.concat(members, "member", coords="minimal", compat="override").to_dataset(name="adt")


def days(data: xr.Dataset | xr.DataArray) -> np.ndarray:
    """Times of data in days since 1950-01-01."""
    return (data["time"].values - np.datetime64("1950-01-01")) / np.timedelta64(1, "D")


def daily_grid(sea: Sea, tracks: xr.Dataset) -> xr.Dataset:
    """Coordinates of the maps on every day from the first sample of tracks to the last."""
    return xr.Dataset(
        coords={"time": noons(tracks), "latitude": sea.adt.latitude, "longitude": sea.adt.longitude}
    )


def noons(tracks: xr.Dataset) -> np.ndarray:
    """Noon of every day from the first sample of tracks to the last."""
    first, last = (tracks["time"].values[i].astype("datetime64[D]") for i in (0, -1))
    return np.arange(first, last + 1).astype("datetime64[ns]") + np.timedelta64(12, "h")


def above_mean(sea: Sea) -> tuple[xr.Dataset, xr.Dataset, float]:
    """Both kinds of passes above the mean map and the offset of the assimilated ones, and that offset, m."""
    offset = float(anomalies(sea.kept, "adt", sea.mean)["adt"].mean())
    kept, checks = (anomalies(each, "adt", sea.mean, offset) for each in (sea.kept, sea.checks))
    return kept, checks, offset


def interpolate(
    obs: xr.Dataset, targets: xr.Dataset, length_km: float, length_days: float, std: float
) -> np.ndarray:
    """Optimal interpolation from points to points, anomalies."""
    return interpolate_tracks(
        obs["longitude"].values, obs["latitude"].values, days(obs), obs["adt"].values,
        targets["longitude"].values, targets["latitude"].values, days(targets),
        length_km=length_km, length_days=length_days, noise_std=NOISE, std=std,
    )[0]  # fmt: skip


def choose_scales(obs: xr.Dataset, targets: xr.Dataset, std: float) -> tuple[float, float]:
    """Length and time scale whose optimal interpolation of `obs` is nearest to the values of `targets`."""
    candidates = list(itertools.product((40, 50, 60, 75, 100), (7, 10, 15, 20)))
    errors = [float(((interpolate(obs, targets, *c, std) - targets["adt"]) ** 2).mean()) for c in candidates]
    return candidates[int(np.argmin(errors))]
