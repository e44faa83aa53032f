"""Flags in every form in which CF attributes describe them."""

import netCDF4
import numpy as np
import pytest
import xarray as xr

from oceanvar.errors import ConfigError
from oceanvar.observing import NoneOf
from oceanvar.observing.readers.flags import is_kept


def stored(tmp_path, values, dtype, fill=None, **attrs):
    """A flag as a file has it, opened."""
    with netCDF4.Dataset(tmp_path / "flags.nc", "w") as file:
        file.createDimension("n", len(values))
        variable = file.createVariable("flag", dtype, ("n",), fill_value=fill)
        variable.set_auto_maskandscale(False)
        variable.setncatts(attrs)
        variable[:] = np.asarray(values).astype(dtype)
    with xr.open_dataset(tmp_path / "flags.nc") as ds:
        return ds["flag"].load()


def kept(flag, wanted):
    return np.flatnonzero(is_kept(flag, wanted)).tolist()


def test_numbers_ranges_and_lists_as_ever(tmp_path):
    flag = stored(tmp_path, [0, 1, 2, 3, 127], "i1", 127)
    assert kept(flag, 0) == [0]
    assert kept(flag, [0, 2]) == kept(flag, np.array([0, 2])) == [0, 2]
    assert kept(flag, slice(1, 2)) == [1, 2]
    assert kept(flag, slice(2, None)) == [2, 3]
    assert kept(flag, slice(None, 1)) == [0, 1]
    assert kept(flag, NoneOf(0, 3)) == [1, 2]


@pytest.mark.parametrize("fill", [None, 127])
def test_values_by_their_meaning(tmp_path, fill):
    flag = stored(
        tmp_path,
        [0, 1, 2, 1, 127],
        "i1",
        fill,
        flag_values=np.arange(3, dtype="i1"),
        flag_meanings="ocean land ice",
    )
    assert kept(flag, "ocean") == [0]
    assert kept(flag, ["ocean", "ice"]) == [0, 2]
    assert kept(flag, ["l*", 0]) == [0, 1, 3]
    # A missing flag counts as nothing, and so does not count as good; a value that nobody describes is none of them.
    assert kept(flag, NoneOf("land")) == ([0, 2] if fill else [0, 2, 4])


def test_bits_alone_and_values_under_masks(tmp_path):
    bits = {"flag_masks": np.array([1, 2, 4], "i2"), "flag_meanings": "rain ice land"}
    flag = stored(tmp_path, [0, 1, 3, 4, 8, 32767], "i2", 32767, **bits)
    assert kept(flag, "rain") == [1, 2]
    assert kept(flag, ["ice", "land"]) == [2, 3]
    assert kept(flag, NoneOf("rain")) == [0, 3, 4]
    assert kept(flag, NoneOf("*")) == [0, 4]
    both = {
        "flag_masks": np.array([1, 6, 6, 6], "i1"),
        "flag_values": np.array([1, 0, 2, 4], "i1"),
        "flag_meanings": "flagged none low high",
    }
    flag = stored(tmp_path, [0, 1, 2, 5, 4], "i1", **both)
    assert kept(flag, "none") == [0, 1]
    assert kept(flag, "high") == [3, 4]
    assert kept(flag, NoneOf("flagged", "low")) == [0, 4]


@pytest.mark.parametrize(
    ("dtype", "attrs"),
    [
        ("u1", {"flag_masks": np.array([1, 128], "u1")}),
        ("i1", {"flag_masks": np.array([1, -128], "i1")}),
        ("i1", {"flag_masks": np.array([1, -128], "i1"), "_Unsigned": "true"}),
        ("i1", {"flag_masks": np.array([1, 128], "i2"), "_Unsigned": "true"}),
    ],
    ids=["unsigned", "signed", "meant unsigned", "meant unsigned, masks wider"],
)
@pytest.mark.parametrize("fill", [None, 64])
def test_the_highest_bit_with_and_without_a_sign(tmp_path, dtype, attrs, fill):
    flag = stored(tmp_path, [0, 1, 128, 129, 2, 64], dtype, fill, flag_meanings="low high", **attrs)
    assert kept(flag, "high") == [2, 3]
    assert kept(flag, NoneOf("high")) == ([0, 1, 4] if fill else [0, 1, 4, 5])


def test_attributes_without_a_type_are_of_that_of_the_file():
    """As Zarr has them."""
    flag = xr.DataArray([0.0, 1.0, 128.0, np.nan], dims="n", attrs={"flag_meanings": "low high"})
    flag.attrs["flag_masks"], flag.encoding["dtype"] = [1, -128], np.dtype("i1")
    assert kept(flag, "high") == [2]
    assert kept(flag, NoneOf("high")) == [0, 1]


def test_all_sixty_four_bits(tmp_path):
    attrs = {"flag_masks": np.array([1, 1 << 63], "u8"), "flag_meanings": "low high"}
    flag = stored(tmp_path, np.array([0, 1, 1 << 63, (1 << 63) + 1], "u8"), "u8", **attrs)
    assert kept(flag, "high") == [2, 3]
    assert kept(flag, NoneOf("low")) == [0, 2]


def test_a_single_flag_has_scalars_for_attributes(tmp_path):
    flag = stored(tmp_path, [0, 1, 2], "i1", flag_masks=np.int8(1), flag_meanings="bad")
    assert kept(flag, NoneOf("bad")) == [0, 2]
    alone = xr.DataArray([0.0, 1.0, np.nan], dims="n", attrs={"flag_values": 1, "flag_meanings": "bad"})
    assert kept(alone, "bad") == [1]
    assert kept(alone, NoneOf("bad")) == [0]


def test_flags_that_are_text():
    for values in (
        np.array(["1", "4", " ", "2"]),
        np.array([b"1", b"4", b"", b"2"]),
        np.array(["1", "4", None, "2"]),
    ):
        flag = xr.DataArray(values, dims="n")
        assert kept(flag, "1") == kept(flag, 1) == [0]
        assert kept(flag, [1, 2]) == kept(flag, ["1", "2"]) == [0, 3]
        assert kept(flag, NoneOf("4")) == kept(flag, NoneOf(4)) == [0, 3]


def test_what_is_not_described_is_told():
    plain = xr.DataArray([0, 1], dims="n", name="qual", attrs={"units": "1"})
    with pytest.raises(
        ConfigError, match=r"'qual' has no flag_meanings .*'good' cannot be.*: 0}; .*\['units'\]"
    ):
        is_kept(plain, "good")
    for wrong in (
        {"flag_values": np.array([0, 1, 2])},
        {"flag_masks": np.array([1])},
        {"flag_values": "0b, 1b"},
        {"flag_values": ["0b", "1b"]},
    ):
        for flag in (plain, plain.astype(float)):
            with pytest.raises(ConfigError, match=r"2 meanings \['good', 'bad'\], and . numbers"):
                is_kept(flag.assign_attrs(flag_meanings="good bad", **wrong), "good")
    named = plain.assign_attrs(flag_meanings="good bad", flag_values=np.array([0, 1]))
    for wanted in ("Good", ["good", "poor"], NoneOf("worse*")):
        with pytest.raises(
            ConfigError, match=r"no meaning '(Good|poor|worse\*)'; there are \['good', 'bad'\]"
        ):
            is_kept(named, wanted)
    for values in ((), (1.5,), (["bad"],)):
        with pytest.raises(ConfigError, match="NoneOf takes meanings"):
            NoneOf(*values)
