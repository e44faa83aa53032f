"""Classical maps and scores by one call of the accessor."""

import numpy as np
import pytest
import xarray as xr

from oceanvar.baselines import interpolate_linear, optimal_interpolation
from oceanvar.errors import ConfigError, MendedWarning, MissingVariableError
from oceanvar.metrics import score_along_track
from oceanvar.observing import sample_field
from tests.labelled_fields import sea_level

LENGTHS = {"time": 4.0, "latitude": 150.0, "longitude": 150.0}


def samples(n=60):
    rng = np.random.default_rng(0)
    seconds = np.sort(rng.uniform(0, 4 * 86_400, n))
    where = {
        "time": np.datetime64("2020-01-01", "ns") + (seconds * 1e9).astype("timedelta64[ns]"),
        "latitude": rng.uniform(35, 37, n),
        "longitude": rng.uniform(5, 7.5, n),
    }
    coords = {name: ("sample", one) for name, one in where.items()}
    return xr.DataArray(0.1 * rng.standard_normal(n), coords, "sample", "ssh", attrs={"units": "m"})


def test_optimal_interpolation_of_grids_and_of_tracks():
    obs = sea_level()
    expected = optimal_interpolation(obs, LENGTHS, 0.02, kernel="matern32")
    xr.testing.assert_identical(obs.varnet.optimal_interpolation(LENGTHS, 0.02, kernel="matern32"), expected)
    with_title = obs.to_dataset().assign_attrs(title="sea").varnet.optimal_interpolation(LENGTHS, 0.02)
    assert with_title.attrs == {"title": "sea"}
    tracks = samples()
    grid = obs.to_dataset().isel(time=slice(3))
    expected = optimal_interpolation(tracks, LENGTHS, 0.02, targets=grid)
    assert expected["ssh"].dims == ("time", "latitude", "longitude")
    for one in (tracks, tracks.to_dataset()):
        xr.testing.assert_identical(one.varnet.optimal_interpolation(LENGTHS, 0.02, grid=grid), expected)


def test_linear_interpolation_of_one_variable():
    obs = sea_level()
    xr.testing.assert_identical(obs.varnet.interpolate_linear(fill=0.0), interpolate_linear(obs, fill=0.0))


def test_scores_along_tracks():
    obs, tracks = sea_level(observed=1.0).to_dataset(), samples()
    found = sample_field(obs["ssh"], tracks)
    expected = score_along_track(found.values, tracks, min_points=5)
    for analysis, truth in (
        (obs["ssh"], tracks),
        (obs, tracks),
        (obs, tracks.to_dataset()),
        (obs.assign(ssh_error=obs["ssh"]), tracks.to_dataset().assign(depth=tracks)),
    ):
        xr.testing.assert_identical(analysis.varnet.score_tracks(truth, min_points=5), expected)
    with pytest.raises(MissingVariableError, match="in common"):
        obs.varnet.score_tracks(tracks.rename("sla"))
    with pytest.raises(MissingVariableError, match="one variable of the tracks"):
        obs["ssh"].varnet.score_tracks(tracks.to_dataset().assign(depth=tracks))
    with pytest.raises(ConfigError, match="tracks are a Dataset"):
        obs.varnet.score_tracks([tracks.values])
    with pytest.warns(MendedWarning, match="already"):
        xr.testing.assert_identical(obs.varnet.score_tracks([tracks, tracks], min_points=5), expected)
    in_cm = obs.assign(ssh=(100 * obs["ssh"]).assign_attrs(units="cm"))
    in_m = tracks.assign_attrs(units="m")
    xr.testing.assert_allclose(in_cm.varnet.score_tracks(in_m, min_points=5)["mu"], expected["mu"])
