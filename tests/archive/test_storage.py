"""How an analysis is stored: chunks, shards, compression, periods and packing, and what of these is refused."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st

from oceanvar.archive import Packing, assimilate_archive, open_archive
from oceanvar.archive.jobs import run_folder
from oceanvar.archive.manifest import MANIFEST
from oceanvar.archive.storage import MISSING, Storage
from oceanvar.errors import ConfigError, StoreError
from tests.labelled_fields import gappy


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """Twenty days of observations, from 2019-12-20."""
    obs = gappy({"time": 20, "lat": 6, "lon": 8})
    folder = tmp_path_factory.mktemp("obs")
    obs.assign_coords(time=obs["time"] - np.timedelta64(12, "D")).to_netcdf(folder / "obs.nc")
    return folder


@pytest.fixture
def plain(files, model, tmp_path) -> np.ndarray:
    with open_archive(assimilate_archive(files, model, tmp_path / "plain.zarr")) as ds:
        return ds["ssh"].values


def stored_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_chunks_and_shards_hold_the_same_values(files, model, plain, tmp_path):
    shape = {"chunks": {"time": 2, "lat": 3}, "shards": {"time": 8, "lat": 6}}
    output = assimilate_archive(files, model, tmp_path / "out.zarr", **shape)
    array = zarr.open_array(output / "ssh", mode="r")
    assert (array.chunks, array.shards) == ((2, 3, 8), (8, 6, 8))
    assert len([file for file in (output / "ssh" / "c").rglob("*") if file.is_file()]) == 3
    with xr.open_zarr(output) as ds:
        np.testing.assert_array_equal(ds["ssh"], plain)
    lines = [json.loads(line) for line in (run_folder(output) / MANIFEST).read_text().splitlines()]
    assert [line["n_times"] for line in lines if "unit" in line] == [8, 8, 4], "a unit is a whole shard"
    for shards, text in (({"time": 3}, "no whole chunks of 2"), ({"depth": 2}, "'depth'")):
        with pytest.raises(ConfigError, match=text):
            assimilate_archive(files, model, tmp_path / "2.zarr", chunks={"time": 2}, shards=shards)
    with pytest.raises(ConfigError, match="no shards"):
        assimilate_archive(files, model, tmp_path / "out", shards={"time": 4})


@pytest.mark.parametrize("name", ["out.zarr", "out"])
def test_compression_changes_the_size_and_nothing_else(name, files, model, plain, tmp_path):
    sizes = []
    for level in (0, 5):
        output = assimilate_archive(
            files, model, tmp_path / f"{level}{name}", compression=level, period="year"
        )
        with open_archive(output) as ds:
            np.testing.assert_array_equal(ds["ssh"], plain)
            expected = {"zlib": level > 0, "complevel": level, "shuffle": level > 0}
            assert name == "out.zarr" or {key: ds["ssh"].encoding[key] for key in expected} == expected
        sizes.append(stored_bytes(output))
    assert name == "out" or sizes[1] < sizes[0], (
        "the chunk index of a tiny NetCDF file outweighs what it saves"
    )
    with pytest.raises(ConfigError, match="0 to 9"):
        assimilate_archive(files, model, tmp_path / "bad.zarr", compression=10)


@pytest.mark.parametrize(("name", "n_files"), [("out.zarr", None), ("day", 20), ("month", 2), ("year", 2)])
def test_packed_output_is_within_half_a_step(name, n_files, files, model, plain, tmp_path):
    packing = Packing.over(-30.0, 30.0)
    mask = xr.DataArray(np.arange(6) > 1, dims="lat")
    period = "month" if n_files is None else name
    options = {"period": period, "packing": {"ssh": packing}, "mask": mask}
    output = assimilate_archive(files, model, tmp_path / name, **options)
    assert n_files is None or len(list(output.glob("*.nc"))) == n_files
    with open_archive(output) as ds:
        stored = ds["ssh"].encoding
        assert (stored["dtype"], stored["_FillValue"]) == (np.int16, MISSING)
        assert (stored["scale_factor"], stored["add_offset"]) == (packing.scale_factor, packing.add_offset)
        assert ds["ssh"].attrs["units"] == "m"
        values = ds["ssh"].values
    assert np.isnan(values[:, :2]).all()
    np.testing.assert_allclose(values[:, 2:], plain[:, 2:], atol=packing.scale_factor / 2 + 1e-6, rtol=0)


def test_a_value_that_the_packing_cannot_say_ends_the_run(files, model, plain, tmp_path):
    packing = {"ssh": Packing.over(-1e-3, 1e-3)}
    with pytest.raises(
        StoreError, match=r"cannot write time 2019-12-20.*values of 'ssh'.*holds -0.001 to 0.001"
    ):
        assimilate_archive(files, model, tmp_path / "out.zarr", packing=packing)
    assert not (tmp_path / "out.zarr").exists()
    with pytest.raises(ConfigError, match=r"\['sst'\]"):
        assimilate_archive(files, model, tmp_path / "out.zarr", packing={"sst": Packing(1.0)})


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), st.integers(0, 2**32))
def test_packing_and_unpacking_any_values_of_the_range(lowest, width, seed):
    packing = Packing.over(lowest, lowest + width)
    values = np.random.default_rng(seed).uniform(lowest, lowest + width, 50)
    values[[0, 1, 2]] = lowest, lowest + width, np.nan
    integers = packing.pack(values, "ssh")
    assert integers.dtype == np.int16
    assert (integers == MISSING).tolist() == np.isnan(values).tolist()
    again = packing.scale_factor * integers + packing.add_offset
    step = packing.scale_factor
    np.testing.assert_allclose(again[3:], values[3:], atol=step * 0.5001 + 1e-9, rtol=0)
    for outside in (lowest - step, lowest + width + step, np.inf, -np.inf):
        with pytest.raises(ConfigError, match="1 values of 'ssh'"):
            packing.pack(np.append(values, outside), "ssh")


def test_impossible_packings():
    for make in (
        lambda: Packing(0.0),
        lambda: Packing(-1.0),
        lambda: Packing(1.0, np.nan),
        lambda: Packing.over(3.0, 3.0),
        lambda: Packing.over(0.0, np.inf),
    ):
        with pytest.raises(ConfigError):
            make()
    with pytest.raises(ConfigError, match="week"):
        Storage("week")


def test_a_run_is_not_resumed_into_another_storage(files, model, tmp_path):
    output = assimilate_archive(files, model, tmp_path / "out.zarr")
    for options, text in (
        ({"packing": {"ssh": Packing(0.01)}}, "packing ssh: none then"),
        ({"compression": 3}, "compression: None then, 3 now"),
        ({"shards": {"time": 8}}, "shards time: none then, 8 now"),
    ):
        with pytest.raises(StoreError, match=text):
            assimilate_archive(files, model, output, resume=True, **options)


def test_a_store_lists_without_its_consolidated_metadata(files, model, tmp_path):
    output = assimilate_archive(files, model, tmp_path / "out.zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        group = zarr.open_group(output, mode="r", use_consolidated=False)
        assert sorted(group.keys()) == ["lat", "lon", "ssh", "time"]
        with xr.open_zarr(output, consolidated=False) as ds:
            assert set(ds.variables) == {"lat", "lon", "ssh", "time"}
