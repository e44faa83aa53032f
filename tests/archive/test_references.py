"""Virtual stores are read like any Zarr store, and what they silently get wrong is refused."""

import base64
import json
import os
from pathlib import Path

import icechunk
import numpy as np
import pytest
import xarray as xr
import zarr

from oceanvar.archive import assimilate_archive, open_archive
from oceanvar.archive.sources import find_files
from oceanvar.errors import StoreError
from tests.archive.archives import assert_same_bits
from tests.labelled_fields import gappy

DAYS = 4
"""In each file."""

FILL = np.float32(-999.0)


@pytest.fixture
def obs() -> xr.Dataset:
    return gappy({"time": 12, "lat": 11, "lon": 13})


def write_classic(obs: xr.Dataset, folder: Path, attrs: list[dict]) -> list[tuple[Path, int, int]]:
    """Write values as they lie in files, big-endian, and say where: file, first byte, bytes."""
    found = []
    for number, own in enumerate(attrs):
        piece = obs.isel(time=slice(DAYS * number, DAYS * (number + 1)))
        scale, fill = own.get("scale_factor", 1.0), own.get("_FillValue", np.nan)
        raw = np.nan_to_num(piece["ssh"].values / np.float32(scale), nan=fill).astype(">f4")
        path = folder / f"obs_{number}.nc"
        raw_ds = piece.assign(ssh=(piece["ssh"].dims, raw.astype("f4"), {**piece["ssh"].attrs, **own}))
        if "_FillValue" not in own:
            raw_ds["ssh"].encoding["_FillValue"] = None
        raw_ds.to_netcdf(path, format="NETCDF3_CLASSIC", engine="netcdf4")
        found.append((path, path.read_bytes().index(raw.tobytes()), raw.nbytes))
    return found


def array(shape, chunks, dtype, fill=None) -> str:
    known = {"zarr_format": 2, "compressor": None, "order": "C", "filters": None, "fill_value": fill}
    return json.dumps({**known, "shape": list(shape), "chunks": list(chunks), "dtype": dtype})


def write_references(obs: xr.Dataset, places, path: Path, attrs: dict, fill=None) -> Path:
    """Write references to the values, as kerchunk joins files: attributes of one for all."""
    shape = obs["ssh"].shape
    refs = {".zgroup": json.dumps({"zarr_format": 2})}
    refs["ssh/.zarray"] = array(shape, (DAYS, *shape[1:]), ">f4", fill)
    refs["ssh/.zattrs"] = json.dumps({"_ARRAY_DIMENSIONS": ["time", "lat", "lon"], "units": "m", **attrs})
    for number, place in enumerate(places):
        refs[f"ssh/{number}.0.0"] = [str(place[0]), *place[1:]]
    days = np.arange(float(obs.sizes["time"]))
    for name, values in (("time", days), ("lat", obs["lat"].values), ("lon", obs["lon"].values)):
        units = {"units": "days since 2020-01-01"} if name == "time" else obs[name].attrs
        refs[f"{name}/.zarray"] = array(values.shape, values.shape, "<f8")
        refs[f"{name}/.zattrs"] = json.dumps({"_ARRAY_DIMENSIONS": [name], **units})
        refs[f"{name}/0"] = "base64:" + base64.b64encode(values.astype("<f8").tobytes()).decode()
    path.write_text(json.dumps({"version": 1, "refs": refs}))
    return path


def write_repository(obs: xr.Dataset, references: Path, path: Path, folder: Path) -> str:
    """Commit the same references to an Icechunk repository."""
    config = icechunk.RepositoryConfig.default()
    prefix = f"file://{folder}/"
    config.set_virtual_chunk_container(
        icechunk.VirtualChunkContainer(prefix, icechunk.local_filesystem_store(str(folder)))
    )
    repository = icechunk.Repository.create(
        icechunk.local_filesystem_storage(str(path)),
        config,
        icechunk.containers_credentials({prefix: None}),
    )
    repository.save_config()
    session = repository.writable_session("main")
    refs = json.loads(references.read_text())["refs"]
    obs.drop_vars("ssh").to_zarr(session.store, zarr_format=3, consolidated=False)
    known = json.loads(refs["ssh/.zarray"])
    attrs = json.loads(refs["ssh/.zattrs"])
    names = attrs.pop("_ARRAY_DIMENSIONS")
    zarr.open_group(session.store, mode="r+").create_array(
        "ssh",
        shape=known["shape"],
        chunks=known["chunks"],
        dtype="float32",
        serializer=zarr.codecs.BytesCodec(endian="big"),
        compressors=None,
        fill_value=np.nan,
        dimension_names=names,
        attributes=attrs,
    )
    for number in range(3):
        file, first, n_bytes = refs[f"ssh/{number}.0.0"]
        session.store.set_virtual_ref(f"ssh/c/{number}/0/0", f"file://{file}", offset=first, length=n_bytes)
    session.commit("references")
    return f"icechunk://{path}"


@pytest.mark.parametrize("kind", ["kerchunk", "icechunk"])
def test_references_give_what_their_files_give(kind, obs, model, tmp_path):
    places = write_classic(obs, tmp_path, [{}] * 3)
    given = write_references(obs, places, tmp_path / "all.json", {})
    if kind == "icechunk":
        given = write_repository(obs, given, tmp_path / "all.ice", tmp_path)
    right = assimilate_archive(str(tmp_path / "obs_*.nc"), model, tmp_path / "right.zarr")
    assert_same_bits(assimilate_archive(given, model, tmp_path / "out.zarr"), right)
    (source,) = find_files(given)
    before = source.state()
    assert source.state() == before
    os.utime(tmp_path / "obs_1.nc", (0, 2e9))
    assert source.state() != before, "a file that they lead to is another one"
    assert not source.lies_in(tmp_path / "out.zarr")
    assert source.lies_in(tmp_path)


@pytest.mark.parametrize("kind", ["kerchunk", "icechunk"])
@pytest.mark.parametrize(
    ("files", "ours", "told"),
    [
        (
            [{"scale_factor": 0.01}] * 2 + [{"scale_factor": 0.1}],
            {"scale_factor": 0.01},
            "scale_factor is 0.1",
        ),
        ([{"add_offset": 0.0}] * 2 + [{"add_offset": 5.0}], {}, "add_offset is 5, and takes 0"),
        ([{"_FillValue": FILL}] * 3, {}, "-999 stands for no value, and does not say so"),
        ([{}] * 3, {"missing_value": 0.0}, "0 is a value, and takes it for none"),
    ],
)
def test_values_that_would_be_decoded_wrongly_are_refused(kind, files, ours, told, obs, model, tmp_path):
    places = write_classic(obs, tmp_path, files)
    given = write_references(obs, places, tmp_path / "all.json", ours)
    if kind == "icechunk":
        given = write_repository(obs, given, tmp_path / "all.ice", tmp_path)
    with pytest.raises(StoreError, match=f"obs_[02].nc.*{told}"):
        assimilate_archive(given, model, tmp_path / "out.zarr")


def test_packing_and_fill_values_that_are_those_of_the_files_are_read(obs, model, tmp_path):
    attrs = {"scale_factor": 0.5, "_FillValue": FILL}
    places = write_classic(obs, tmp_path, [attrs] * 3)
    references = write_references(obs, places, tmp_path / "all.json", {"scale_factor": 0.5}, float(FILL))
    with open_archive(references) as ours, open_archive(str(tmp_path / "obs_*.nc")) as theirs:
        np.testing.assert_array_equal(ours["ssh"], theirs["ssh"])


def test_references_that_lead_nowhere_or_are_none_are_told(obs, model, tmp_path):
    places = write_classic(obs, tmp_path, [{}] * 3)
    references = write_references(obs, places, tmp_path / "all.json", {})
    (tmp_path / "obs_2.nc").unlink()
    with pytest.raises(StoreError, match=r"all.json: cannot be read: .*obs_2.nc"):
        assimilate_archive(references, model, tmp_path / "out.zarr")
    references.write_text('{"letter": "dear"}')
    with pytest.raises(StoreError, match=r"all.json"):
        assimilate_archive(references, model, tmp_path / "out.zarr")
    references.write_text("dear")
    with pytest.raises(StoreError, match=r"no references that can be read"):
        assimilate_archive(references, model, tmp_path / "out.zarr")
    with pytest.raises(StoreError, match="there is no Icechunk repository"):
        assimilate_archive(f"icechunk://{tmp_path / 'none'}", model, tmp_path / "out.zarr")
