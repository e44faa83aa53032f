"""Several sources of one grid: their mean where more than one has a value, nothing lost anywhere."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import oceanvar
from oceanvar.archive.side_by_side import index_sources
from oceanvar.archive.sources import find_sources
from oceanvar.cli.commands import main
from oceanvar.errors import StoreError
from oceanvar.network import VarNet
from oceanvar.options import Options
from oceanvar.state import Instrument
from tests.labelled_fields import gappy

SIZES = {"time": 10, "lat": 11, "lon": 13}


@pytest.fixture
def satellites(tmp_path) -> dict[str, xr.Dataset]:
    """One over days 0 to 7, one over days 2 to 9; neither on day 5."""
    one, other = gappy(SIZES, seed=1).isel(time=slice(8)), gappy(SIZES, seed=2).isel(time=slice(2, 10))
    both = {"a": one.drop_isel(time=5), "b": other.drop_isel(time=3)}
    for name, ds in both.items():
        (tmp_path / name).mkdir()
        for i in range(ds.sizes["time"]):
            ds.isel(time=[i]).to_netcdf(tmp_path / name / f"{i}.nc")
    return both


def merged(both: dict[str, xr.Dataset]) -> xr.Dataset:
    times = gappy(SIZES)["time"]
    found = xr.concat([ds.reindex(time=times) for ds in both.values()], "source")
    return found.mean("source", keep_attrs=True)


@pytest.mark.filterwarnings("ignore::oceanvar.errors.MendedWarning")
def test_the_mean_of_both_is_mapped(satellites, model, tmp_path):
    paths = {name: tmp_path / name for name in satellites}
    out = oceanvar.assimilate_archive(paths, model, tmp_path / "out.zarr", batch_size=4)
    with xr.open_zarr(out) as stored:
        np.testing.assert_allclose(
            stored["ssh"], merged(satellites).varnet.assimilate(model)["ssh"], atol=1e-5
        )
    summary = oceanvar.archive.read_summary(out)
    assert summary["n_files"] == 14
    assert summary["n_times_unobserved"] == 1
    assert summary["mended"] == [
        "coordinate 'time' of the observations lacks 1 of 10 times: they are mapped without observations"
    ]
    model.save(tmp_path / "m.varnet")
    arguments = ["-m", str(tmp_path / "m.varnet"), *(f"--source={tmp_path / name}" for name in satellites)]
    result = CliRunner().invoke(main, ["assimilate", *arguments, "-o", str(tmp_path / "cli.zarr"), "-q"])
    assert result.exit_code == 0, result.output
    with xr.open_zarr(out) as stored, xr.open_zarr(tmp_path / "cli.zarr") as again:
        np.testing.assert_allclose(stored["ssh"], again["ssh"], atol=1e-6)
    assert CliRunner().invoke(main, ["plan", *arguments, "--quick"]).exit_code == 0
    assert CliRunner().invoke(main, ["plan", "x.nc", *arguments]).exit_code == 2


def test_two_values_of_a_cell_and_their_errors(space, tmp_path):
    values, variances = {"a": (1.0, 0.1), "b": (2.0, 0.4)}, (0.1, 0.4)
    grid = gappy({"time": 1, "lat": 11, "lon": 13}, fraction=0.0)
    for name, (value, variance) in values.items():
        grid.assign(ssh=grid["ssh"].fillna(value), error=grid["ssh"].fillna(variance)).to_netcdf(
            tmp_path / f"{name}.nc"
        )
    space = replace(space, instruments={"state": Instrument(("ssh",), variance="error")})
    index = index_sources(find_sources({n: tmp_path / f"{n}.nc" for n in values}), space, Options(), None)
    rows = index.reader().read(0, 1).obs
    weights = [1 / each for each in variances]
    assert rows["ssh"].values == pytest.approx((1.0 * weights[0] + 2.0 * weights[1]) / sum(weights))
    assert rows["error"].values == pytest.approx(1 / sum(weights))


def test_sources_of_different_grids_are_refused(satellites, model, tmp_path):
    moved = satellites["b"].assign_coords(lat=satellites["b"]["lat"] + 0.1)
    moved.to_netcdf(tmp_path / "moved.nc")
    with pytest.raises(oceanvar.OceanVarError, match="'lat'.* differs by up to 0.1"):
        oceanvar.assimilate_archive(
            {"a": tmp_path / "a", "b": tmp_path / "moved.nc"}, model, tmp_path / "out.zarr"
        )


def test_files_that_overlap_say_what_to_do(satellites, model, tmp_path):
    with pytest.raises(StoreError, match="satellites say"):
        oceanvar.assimilate_archive([tmp_path / "a", tmp_path / "b"], model, tmp_path / "out.zarr")


def test_a_model_of_an_error_variance_maps_both(satellites, model, tmp_path):
    space = replace(model.state_space, instruments={"state": Instrument(("ssh",), variance="error")})
    for name, ds in satellites.items():
        ds.assign(error=0.5 + 0 * ds["ssh"]).to_netcdf(tmp_path / f"{name}.nc")
    paths = {name: tmp_path / f"{name}.nc" for name in satellites}
    with pytest.warns(oceanvar.MendedWarning, match="lacks 1 of 10"):
        out = oceanvar.assimilate_archive(paths, VarNet(model.assimilator, space), tmp_path / "out.zarr")
    assert np.isfinite(xr.open_zarr(out)["ssh"]).all()


@pytest.mark.filterwarnings("ignore::oceanvar.errors.MendedWarning")
@pytest.mark.parametrize("wrong", [1e20, -999.0, np.inf])
def test_a_wrong_value_of_one_source_does_not_spoil_the_other(wrong, satellites, model, tmp_path):
    found = []
    for i, value in enumerate((np.nan, wrong)):
        one = satellites["a"].isel(time=[3]).copy(deep=True)
        one["ssh"][0, 4, 4] = value
        one.to_netcdf(tmp_path / "a" / "3.nc")
        out = oceanvar.assimilate_archive(
            {name: tmp_path / name for name in satellites}, model, tmp_path / f"{i}.zarr"
        )
        with xr.open_zarr(out) as stored:
            found.append(stored["ssh"].load())
    np.testing.assert_array_equal(*found)
