"""What is withheld: real gaps, whole passes, blocks; always a part of what was observed."""

import numpy as np
import pytest
import xarray as xr
from scipy.ndimage import label

from oceanvar.errors import ConfigError, MissingVariableError
from oceanvar.observing import (
    AsMissing,
    CloudsOf,
    EveryNthStep,
    MovingClouds,
    OneOf,
    RandomFraction,
    RandomHoles,
    WholePasses,
    WithheldBlocks,
    Withhold,
)

DIMS = ("time", "latitude", "longitude")
SIZES = {"variable": 2, "time": 5, "latitude": 12, "longitude": 14}


def images(n_times: int = 40, seed: int = 0) -> xr.Dataset:
    """Cloudy images with land in the south-west corner."""
    sizes = {"variable": 1, "time": n_times, "latitude": 20, "longitude": 24}
    clear = MovingClouds(0.5, {"latitude": 2.0, "longitude": 2.0}, 2.0).mask(
        sizes, {}, np.random.default_rng(seed)
    )
    values = np.where(clear[0], 1.0, np.nan)
    values[:, :6, :5] = np.nan
    return xr.Dataset({"sst": (DIMS, values)})


def tracks(seed: int = 0, sizes: dict[str, int] = SIZES) -> np.ndarray:
    """Two slanting passes a time that do not touch."""
    rng = np.random.default_rng(seed)
    seen = np.zeros(tuple(sizes.values()), dtype=bool)
    rows = np.arange(sizes["latitude"])
    for time in range(sizes["time"]):
        for start in rng.choice(3) + np.array([0, 7]):
            seen[:, time, rows, start + rows // 4] = True
    return seen


def kept(rule, observed: np.ndarray, seed: int = 0) -> np.ndarray:
    return rule.kept(observed, dict(zip(SIZES, observed.shape, strict=True)), {}, np.random.default_rng(seed))


RULES = {
    "clouds": CloudsOf(images()),
    "passes": WholePasses(0.3),
    "default": AsMissing.of(images(), "time"),
    "holes": RandomHoles(3, 4),
    "stretches": RandomHoles(1, 2, ("time",)),
    "one of": OneOf([WholePasses(), RandomFraction(0.5)]),
    "both": Withhold(CloudsOf(images()), WholePasses()),
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_rule_leaves_a_part_of_what_was_observed(rule):
    for seed in range(10):
        for observed in (tracks(seed), np.random.default_rng(seed).random(tuple(SIZES.values())) < 0.7):
            left = kept(rule, observed, seed)
            assert left.shape == observed.shape
            assert not (left & ~observed).any()
            assert np.array_equal(left, kept(rule, observed, seed))


def test_clouds_are_those_of_the_dataset_mirrored_and_elsewhere():
    """Every mask is found somewhere in the dataset, in one of four mirror images; land hides nothing."""
    ds = images()
    clear = ds["sst"].notnull().values
    clear = clear | ~clear.any(axis=0)
    windows = np.lib.stride_tricks.sliding_window_view(clear, tuple(SIZES.values())[1:])
    places, mirrors = set(), set()
    for seed in range(12):
        mask = CloudsOf(ds).mask(SIZES, {}, np.random.default_rng(seed))
        assert np.array_equal(mask[0], mask[1])
        for mirror in ((), (1,), (2,), (1, 2)):
            found = np.argwhere((windows == np.flip(mask[0], mirror)).all(axis=(3, 4, 5)))
            places |= {tuple(each) for each in found}
            mirrors |= {mirror} if len(found) else set()
    assert len(places) >= 12
    assert len(mirrors) == 4


def test_the_share_that_clouds_leave_is_that_of_the_dataset_off_land():
    ds = images(200)
    sea = ds["sst"].notnull().any("time")
    share = float(ds["sst"].notnull().mean("time").where(sea).mean())
    left = [CloudsOf(ds).mask(SIZES, {}, np.random.default_rng(i)).mean() for i in range(300)]
    # 300 windows of some ten independent clouds: standard deviation about 0.01; land (7 % of the map) adds some.
    assert np.mean(left) == pytest.approx(share, abs=0.05)


def test_members_are_further_skies_and_a_variable_is_clear_where_any_was_seen():
    dark = images().fillna(1.0)
    dark["sst"][1:] = np.nan
    both = xr.concat([images().fillna(1.0), dark], "member")
    shares = {CloudsOf(both).mask(SIZES, {}, np.random.default_rng(i)).mean() for i in range(20)}
    assert {0.0, 1.0} <= shares <= {0.0, 0.2, 1.0}
    two = images().fillna(1.0).assign(chlorophyll=dark["sst"])
    assert CloudsOf(two).mask(SIZES, {}, np.random.default_rng(0)).all()


def test_lazy_clouds_are_the_same_and_read_by_pieces(tmp_path):
    images().to_zarr(tmp_path / "sst.zarr", consolidated=False)
    lazy = xr.open_zarr(tmp_path / "sst.zarr", consolidated=False, chunks={})
    for seed in range(5):
        masks = [CloudsOf(ds).mask(SIZES, {}, np.random.default_rng(seed)) for ds in (images(), lazy)]
        assert np.array_equal(*masks)
    assert lazy["sst"].chunks is not None


def test_passes_are_withheld_whole():
    observed = tracks()
    shares = []
    for seed in range(200):
        left = kept(WholePasses(0.3), observed, seed)
        assert np.array_equal(left[0], left[1])
        for time in range(SIZES["time"]):
            pieces, n = label(observed[0, time], np.ones((3, 3)))
            assert n == 2
            for piece in range(1, 3):
                assert left[0, time][pieces == piece].all() or not left[0, time][pieces == piece].any()
        shares.append(1 - left.sum() / observed.sum())
        assert 0 < shares[-1] < 1
    # Ten passes a window: standard deviation of the mean 0.145 / sqrt(200) = 0.01.
    assert np.mean(shares) == pytest.approx(0.3, abs=0.04)


def test_of_two_passes_one_is_withheld():
    observed = tracks(sizes=SIZES | {"time": 1})
    assert {kept(WholePasses(0.01), observed, seed).sum() / observed.sum() for seed in range(20)} == {0.5}
    assert {kept(WholePasses(0.99), observed, seed).sum() / observed.sum() for seed in range(20)} == {0.5}


def test_the_default_withholds_clouds_of_images_and_passes_of_tracks():
    observed = np.broadcast_to(images()["sst"].notnull().values[None, 3:8, 6:18, 5:19], tuple(SIZES.values()))
    rng, again = np.random.default_rng(5), np.random.default_rng(5)
    left = AsMissing.of(images(), "time").kept(observed, SIZES, {}, rng)
    drawn = [CloudsOf(images()).kept(observed, SIZES, {}, again) for _ in range(4)]
    assert any(np.array_equal(left, each) for each in drawn)

    sizes = {"variable": 1, "time": 30, "latitude": 30, "longitude": 40}
    shifts = np.random.default_rng(0).integers(40, size=30)
    seen = np.stack(
        [np.roll(each, shift, -1) for each, shift in zip(tracks(0, sizes)[0], shifts, strict=True)]
    )[None]
    ds = xr.Dataset({"sla": (DIMS, np.where(seen[0], 0.1, np.nan))})
    window = seen[:, 3:8, :12, :14]
    left = AsMissing.of(ds, "time").kept(window, SIZES | {"variable": 1}, {}, np.random.default_rng(0))
    for time in range(5):
        pieces, n = label(window[0, time], np.ones((3, 3)))
        assert all(len(set(left[0, time][pieces == piece])) == 1 for piece in range(1, n + 1))
    assert 0 < left.sum() < window.sum()


def test_blocks_divide_a_dataset_alike_in_every_window():
    sizes, patch = {"time": 23, "x": 17}, {"time": 9, "x": 6}
    blocks = WithheldBlocks(0.25, {"time": 4}, seed=3).over(sizes, patch)
    whole = blocks.at({dim: np.arange(n) for dim, n in sizes.items()})
    assert whole.shape == (23, 17)
    assert whole[:20, :16].reshape(5, 4, 8, 2).any(axis=(1, 3)).sum() <= round(0.25 * 6 * 9)
    for block in np.split(whole[:, :16], range(4, 23, 4)):
        assert (block == block[:1]).all()
        assert (block[:, ::2] == block[:, 1::2]).all()
    wrapped = {"time": np.arange(2, 11), "x": np.arange(14, 20) % 17}
    assert np.array_equal(blocks.at(wrapped), whole[np.ix_(wrapped["time"], wrapped["x"])])
    assert blocks.chosen.sum() == round(0.25 * 6 * 9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WholePasses(0.0), "above 0 and below 1"),
        (lambda: WithheldBlocks(1.0), "above 0 and below 1"),
        (lambda: WithheldBlocks(size={"time": 0}), "whole numbers"),
        (lambda: WithheldBlocks(size={"depth": 2}).over({"time": 9}, {"time": 3}), r"\['depth'\]"),
        (lambda: WithheldBlocks(size={"time": 9}).over({"time": 9}, {"time": 3}), "choose smaller ones"),
        (lambda: Withhold(), "got none"),
        (lambda: Withhold(RandomFraction), "needs rules"),
        (lambda: CloudsOf(3.0), "needs fields"),
        (lambda: CloudsOf(images(3)).mask(SIZES, {}, np.random.default_rng(0)), "3 points along 'time'"),
        (
            lambda: OneOf([WholePasses()]).mask(SIZES, {}, np.random.default_rng(0)),
            "observes nothing by itself",
        ),
        (lambda: kept(Withhold(EveryNthStep(2, dim="depth")), tracks()), "'depth'"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises((ConfigError, MissingVariableError), match=message):
        make()
