"""Training windows observed afresh along tracks: values at the true positions and times of the samples."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

import oceanvar
from oceanvar.errors import ConfigError, MissingVariableError
from oceanvar.network.training_windows import TrainingWindows
from oceanvar.observing import RandomFraction, ShuffledTracks, TrackPositions, sample_field
from oceanvar.state import Instrument, WindowSource
from oceanvar.state.drawn_samples import TrackDraws, values_at
from oceanvar.variational import (
    AlongTrack,
    Assimilator,
    Calibration,
    ConjugateGradients,
    ObservationTerm,
    VariationalCost,
)
from oceanvar.variational.operators.tracks import AtPositions

DIMS = ("time", "latitude", "longitude")
PATCH = {"time": 4, "latitude": 6, "longitude": 7}
NOTHING = RandomFraction(0.0)
N_PASSES = 30


@pytest.fixture
def truth() -> xr.Dataset:
    """Two members, linear in time, latitude and longitude, with an island of one cell."""
    coords = {
        "time": 100.0 + np.arange(9.0),
        "latitude": 30 + 0.25 * np.arange(10),
        "longitude": -1 + 0.5 * np.arange(12),
    }
    time, lat, lon = (xr.DataArray(values, dims=dim) for dim, values in coords.items())
    member = xr.DataArray([0.0, 5.0], dims="member")
    level = member + 0.3 * (time - 100) - 0.2 * (lat - 30) + 0.1 * lon
    level = level.where((lat != lat[4]) | (lon != lon[6])).transpose("member", *DIMS)
    return xr.Dataset({"adt": level.astype("float32")}, coords)


@pytest.fixture
def space() -> oceanvar.StateSpace:
    nadir = {"nadir": Instrument(("adt",), variance=0.01, along_track=True)}
    return oceanvar.StateSpace(("adt",), DIMS, PATCH, mean={"adt": 1.0}, std={"adt": 2.0}, instruments=nadir)


def shuffled(seed: int = 0, **options: float) -> ShuffledTracks:
    """Passes of 40 samples anywhere in and round the truth, over six days of another year."""
    rng = np.random.default_rng(seed)
    number = np.repeat(np.arange(N_PASSES), 40)
    place = [rng.uniform(-1.5, 5, len(number)), rng.uniform(29.5, 33, len(number))]
    days = 7000 + np.sort(rng.uniform(0, 6, N_PASSES))[number] + np.tile(np.linspace(0, 1e-3, 40), N_PASSES)
    return ShuffledTracks(TrackPositions(*place, days), number, **options)


def source(truth: xr.Dataset, space: oceanvar.StateSpace, noise_std: float = 0.0) -> WindowSource:
    return WindowSource(truth, space, NOTHING, noise_std, {"nadir": shuffled()})


def test_samples_of_a_linear_field_are_exact_and_lie_in_the_window(truth, space):
    """At their positions, to the digits of float32, in any member; none is on land or outside."""
    windows = source(truth, space)
    counts = set()
    for seed in range(30):
        window = windows.draw(np.random.default_rng(seed))
        found = window.samples["nadir"]
        member = 5.0 if np.nanmin(window.truth) > 3 else 0.0
        days, lat, lon = (found.positions + window.origin).T
        expected = member + 0.3 * days - 0.2 * 0.25 * lat + 0.1 * (-1 + 0.5 * lon)
        by_island = (np.abs(lat - 4) < 1) & (np.abs(lon - 6) < 1)
        np.testing.assert_allclose(found.values[0][~by_island], expected[~by_island], atol=1e-5)
        # Next to the island the nearest cell serves, and on it none.
        assert np.abs(found.values[0] - expected).max() < 0.3 + 0.05 + 0.05
        assert not ((np.abs(lat - 4) < 0.5) & (np.abs(lon - 6) < 0.5)).any()
        assert ((found.positions >= 0) & (found.positions <= [3, 5, 6])).all()
        assert (np.diff(found.positions[:, 0]) >= 0).all()
        counts.add(found.values.shape[1])
    assert len(counts) > 10
    assert min(counts) > 0


def test_samples_lie_where_and_when_the_tracks_were(truth, space):
    """Against the tracks themselves, which are given for the days of the truth."""
    rng = np.random.default_rng(1)
    place = rng.uniform([-1.5, 29.5, 99], [5, 33, 109.5], (300, 3)).T
    window = replace(source(truth, space), along_track={"nadir": TrackPositions(*place)}).draw(rng)
    index = np.stack([place[2] - 100, (place[1] - 30) / 0.25, (place[0] + 1) / 0.5], 1) - window.origin
    last = np.array([3, 5, 6])
    inside = index[((index >= -0.5) & (index <= last + 0.5)).all(1)]
    expected = np.clip(inside, 0, last)
    expected = expected[np.argsort(expected[:, 0], kind="stable")]
    land = np.isnan(values_at(window.truth, expected)[0])
    np.testing.assert_allclose(window.samples["nadir"].positions, expected[~land], atol=1e-9)


def test_the_operator_reproduces_the_samples_and_the_noise_is_added(truth, space):
    window = source(truth.fillna(0.0), space).draw(np.random.default_rng(2))
    found = window.samples["nadir"]
    state = torch.from_numpy(window.truth)[None].double()
    seen = AtPositions(torch.from_numpy(found.positions)[None])(state)[0]
    np.testing.assert_allclose(found.values, seen, atol=1e-6)
    noisy = source(truth.fillna(0.0), space, noise_std=0.5).draw(np.random.default_rng(2)).samples["nadir"]
    np.testing.assert_array_equal(noisy.positions, found.positions)
    assert (noisy.values - found.values).std() == pytest.approx(0.5, rel=5 / np.sqrt(2 * found.values.size))


def test_values_are_those_of_sample_field(truth):
    """Next to land, on land, and exactly on grid points beside land."""
    field = truth["adt"][0, :, :6, :7]
    rng = np.random.default_rng(0)
    places = np.concatenate([rng.uniform(0, [8, 5, 6], (400, 3)), rng.integers(0, [9, 6, 7], (200, 3))])
    coords = {dim: ("sample", field[dim].values[0] + step * places[:, i]) for i, (dim, step) in enumerate(
        zip(DIMS, (1.0, 0.25, 0.5), strict=True)
    )}  # fmt: skip
    expected = sample_field(field, xr.Dataset(coords=coords)).values
    ours = values_at(field.values[None], places)[0]
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    assert np.isnan(ours).any()


def test_points_without_a_share_may_be_missing():
    """A sample at the border of a window, or on a line of points: what lies beside it does not matter."""
    field = np.arange(12.0).reshape(1, 3, 4)
    field[0, 1] = np.nan
    places = np.array([[2.0, 1.3], [0.0, 2.6], [0.4, 1.2], [1.0, 1.0]])
    np.testing.assert_allclose(values_at(field, places), [[9.3, 2.6, 1.0, np.nan]])


def test_every_epoch_draws_other_passes_and_the_same_seed_the_same(truth, space):
    def samples(epoch: int, seed: int = 0) -> list[torch.Tensor]:
        batches = TrainingWindows(source(truth, space, 0.1), space, 8, 4, seed).batches(epoch, 0, 1)
        return [each.obs.positions["nadir"] for each in batches]

    first, again, later, other = samples(0), samples(0), samples(1), samples(0, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for changed in (later, other):
        assert all(a.shape != b.shape or not torch.equal(a, b) for a, b in zip(first, changed, strict=True))


def test_padding_of_windows_with_fewer_samples_has_no_weight(truth, space):
    windows = source(truth, space, 0.1)
    drawn = [windows.draw(np.random.default_rng(i)) for i in range(5)]
    patches = windows.tracks(drawn)["nadir"]
    sizes = [each.samples["nadir"].values.shape[1] for each in drawn]
    assert len(set(sizes)) > 1
    np.testing.assert_array_equal(np.isfinite(patches.values).sum(axis=2)[:, 0], sizes)
    (batch,) = TrainingWindows(windows, space, 5, 5, 0).batches(0, 0, 1)
    weights = batch.obs.weights["nadir"]
    assert weights.unique().tolist() == [0.0, 4.0 / np.float32(0.01)]
    assert (batch.obs.weights["state"] == 0).all()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_along_drawn_tracks_finds_the_bias_of_their_sensor(truth, space, precision, monkeypatch):
    """The model reads 0.4 too little, in normalised units 0.2; positions and values keep their digits."""
    sensor = Calibration(1)
    cost = VariationalCost(ObservationTerm(AlongTrack(sensor=sensor), "nadir", weight=0.01))
    model = oceanvar.VarNet(Assimilator(cost, ConjugateGradients(), 5), space)
    with torch.no_grad():
        sensor.bias += 0.2
    dtypes = set()
    bind = AlongTrack.bind

    def noted(self, obs, name):
        dtypes.update((obs.positions[name].dtype, obs.values[name].dtype))
        return bind(self, obs, name)

    monkeypatch.setattr(AlongTrack, "bind", noted)
    truth.varnet.fit(
        model,
        NOTHING,
        along_track={"nadir": shuffled()},
        validation=truth,
        n_epochs=6,
        batch_size=4,
        n_samples=24,
        n_warmup=1,
        learning_rate=0.05,
        precision=precision,
        device="cpu",
    )
    assert abs(float(sensor.bias.detach())) < 0.05
    assert dtypes == {torch.float32}, "0.1 of a cell would be lost at cell 60"


def test_what_cannot_be_drawn_is_refused(truth, space):
    def built(instrument: Instrument, name: str = "nadir") -> None:
        TrackDraws({name: shuffled()}, replace(space, instruments={"nadir": instrument}), {"adt": 0.0})

    with pytest.raises(ConfigError, match=r"'swath' is none of the along-track instruments \['nadir'\]"):
        built(space.instruments["nadir"], "swath")
    with pytest.raises(ConfigError, match="cannot be drawn from the truth"):
        built(Instrument(("u",), scaled_as=("u",), along_track=True))
    with pytest.raises(ConfigError, match="cannot be drawn from the truth"):
        built(Instrument(("adt",), variance="error", along_track=True))
    with pytest.raises(MissingVariableError, match="the window has"):
        source(truth.rename(latitude="y"), replace(space, dims=("time", "y", "longitude"), patch={
            "time": 4, "y": 6, "longitude": 7})).draw(np.random.default_rng(0))  # fmt: skip
    tracks = xr.Dataset({"adt": ("sample", [1.0])}, {dim: ("sample", [truth[dim].values[1]]) for dim in DIMS})
    with pytest.raises(ConfigError, match="give a sampler of tracks"):
        WindowSource(truth, space, NOTHING, along_track={"nadir": tracks})
    with pytest.raises(ConfigError, match=r"instruments \['nadir'\], and along_track gives \[\]"):
        WindowSource(truth, space, NOTHING)
