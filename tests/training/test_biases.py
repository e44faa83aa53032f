"""Biases between instruments, and covariates, learned from gappy observations alone."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

import oceanvar
from oceanvar.errors import ConfigError
from oceanvar.network import VarNet, fourdvarnet, load
from oceanvar.observing import RandomFraction, WholePasses, Withhold
from oceanvar.state import Instrument, StateSpace
from oceanvar.variational import (
    AlongTrack,
    Assimilator,
    BeamAverage,
    Calibration,
    ConjugateGradients,
    CovariateStart,
    GradientDescent,
    InterpolatedStart,
    ObservationTerm,
    PriorTerm,
    VariationalCost,
)

DIMS = ("time", "y", "x")
BIAS, NOISE = 0.5, 0.2
QUICK = {"n_epochs": 1, "n_samples": 4, "batch_size": 4, "n_validation": 4, "device": "cpu"}
OTHER = Instrument(("other",), scaled_as=("sst",), bias=True)


def waves() -> xr.Dataset:
    """Temperature that changes slowly in space and time."""
    time, y, x = np.meshgrid(np.arange(60), np.arange(12), np.arange(12), indexing="ij")
    values = np.sin(0.5 * x - 0.2 * time) + np.cos(0.4 * y + 0.15 * time) + 15
    coords = {"time": np.arange(60.0), "y": np.arange(12.0), "x": np.arange(12.0)}
    return xr.Dataset({"sst": (DIMS, values, {"units": "K"})}, coords)


def two_instruments(bias: float = BIAS, noise: float = NOISE) -> xr.Dataset:
    """Two of them see 40 % of the cells each, with errors; the second one too much everywhere."""
    rng, truth = np.random.default_rng(0), waves()["sst"]
    errors = noise * rng.standard_normal((2, *truth.shape))
    first, second = ((truth + each).where(rng.random(truth.shape) < 0.4) for each in errors)
    return xr.Dataset({"sst": first, "other": second + bias}).map(lambda each: each.assign_attrs(units="K"))


def smoother(instrument: Instrument, name: str = "other") -> VarNet:
    """A linear problem solved nearly exactly."""
    space = StateSpace(("sst",), DIMS, {"time": 5, "y": 12, "x": 12}, instruments={name: instrument})
    operator = AlongTrack() if instrument.along_track else None
    prior = PriorTerm(BeamAverage([1.0, 1.0, 1.0]), weight=3.0)
    cost = VariationalCost(ObservationTerm(), ObservationTerm(operator, name), prior)
    start = InterpolatedStart(tracks=(name,) if instrument.along_track else ())
    return VarNet(Assimilator(cost, ConjugateGradients(), 8, start), space)


def mean_error(obs: xr.Dataset, model: VarNet, **options) -> float:
    return float((obs.varnet.assimilate(model, **options)["sst"] - waves()["sst"]).mean())


def test_a_bias_is_found_from_gappy_observations_alone(tmp_path):
    """The windows have some 800 cells that both see: the mean difference has the error 0.28 / sqrt(800) = 0.01 K."""
    obs, found = two_instruments(), {}
    for name, instrument in {"found": OTHER, "ignored": replace(OTHER, bias=())}.items():
        found[name] = smoother(instrument)
        obs.varnet.fit(found[name], save=tmp_path / f"{name}.varnet", **QUICK)
    model = load(tmp_path / "found.varnet")
    assert model.state_space.instruments["other"].bias == pytest.approx((BIAS,), abs=0.03)
    (number,) = model.state_space.instruments["other"].bias
    assert f"instrument other (bias +{number:.3g} K, taken off)" in repr(model)
    assert "bias: found by fit" in repr(smoother(OTHER))
    assert model.digest == found["found"].digest
    assert abs(mean_error(obs, model)) < 0.03
    assert mean_error(obs, found["ignored"]) > 0.15
    # A model that is trained on keeps it, as it does its normalisation.
    obs.assign(other=obs["other"] + 1).varnet.fit(model, **QUICK)
    assert model.state_space.instruments == found["found"].state_space.instruments


def test_a_number_is_taken_off_and_not_touched():
    obs = two_instruments()
    known, plain = smoother(replace(OTHER, bias=(BIAS,))), smoother(replace(OTHER, bias=()))
    one = obs.varnet.fit(known, **QUICK)
    other = obs.assign(other=obs["other"] - BIAS).varnet.fit(plain, **QUICK)
    assert known.state_space.instruments["other"].bias == (BIAS,)
    np.testing.assert_allclose(one["loss"], other["loss"], rtol=1e-5)


@pytest.mark.filterwarnings("ignore:.*far from all that the model has learned on")
@pytest.mark.parametrize("truth", [True, False])
def test_what_both_see_without_errors_tells_the_bias_exactly(truth):
    """Against the truth where there is one; lazily; what is far from all of training, or has no variance, is none."""
    obs = two_instruments(noise=0.0).assign(variance=xr.full_like(waves()["sst"], 0.01))
    obs["other"][3] = 1e30
    obs["other"][4], obs["variance"][4] = 18.0, np.nan
    model = smoother(replace(OTHER, variance="variance"))
    if truth:
        given = waves().assign(other=obs["other"], variance=obs["variance"])
        given.varnet.fit(model, RandomFraction(0.01), **QUICK)
    else:
        obs.chunk(time=7).varnet.fit(model, **QUICK)
    assert model.state_space.instruments["other"].bias == pytest.approx((BIAS,), abs=1e-4)


def test_along_tracks_too_and_in_the_first_guess():
    obs, rng = two_instruments()[["sst"]], np.random.default_rng(1)
    places = {dim: ("sample", rng.uniform(0, n - 1, 3000)) for dim, n in zip(DIMS, (60, 12, 12), strict=True)}
    values = waves()["sst"].interp(
        {dim: xr.DataArray(each[1], dims="sample") for dim, each in places.items()}
    )
    tracks = xr.Dataset({"sst": ("sample", values.values + BIAS, {"units": "K"})}, places)
    nadir = Instrument(("sst",), along_track=True, bias=True)
    model = smoother(nadir, "nadir")
    # Half of the samples have an observed cell next to them.
    obs.varnet.fit(model, along_track={"nadir": tracks}, **QUICK)
    assert model.state_space.instruments["nadir"].bias == pytest.approx((BIAS,), abs=0.04)
    model.assimilator.n_steps = 0
    assert abs(mean_error(obs, model, along_track={"nadir": tracks})) < 0.05


def test_what_tells_no_bias_is_refused():
    obs = two_instruments()
    with pytest.raises(ConfigError, match="does not know the bias of 'other' yet: fit it"):
        obs.varnet.assimilate(
            fourdvarnet(replace(smoother(OTHER).state_space, mean={"sst": 0}, std={"sst": 1}))
        )
    apart = obs.assign(other=obs["other"].where(obs["sst"].isnull()))
    with pytest.raises(ConfigError, match="has 0 points in common with what is known of the state, and 30"):
        apart.varnet.fit(smoother(OTHER), **QUICK)
    for name, wrong in {"state": ("sst",), "currents": ("u",)}.items():
        with pytest.raises(ConfigError, match="give numbers"):
            smoother(Instrument(wrong, wrong, bias=True), name)
    for bias in (0.5, (0.5, 0.1), ("a",), (np.nan,)):
        with pytest.raises(ConfigError, match="a finite number for each"):
            replace(OTHER, bias=bias)


def test_files_without_a_bias_say_nothing_of_one():
    plain = smoother(replace(OTHER, bias=())).state_space.to_json()
    assert "bias" not in plain["instruments"]["other"]


def test_gain_and_bias_are_learned_from_withheld_observations():
    """An instrument that sees all, a x + b without errors: what it is worth is told by the other one alone."""
    obs = two_instruments(noise=0.0)
    obs["other"] = (1.25 * waves()["sst"] - 3.0).assign_attrs(units="K")
    space = StateSpace(
        ("sst",),
        DIMS,
        {"time": 5, "y": 12, "x": 12},
        mean={"sst": 15.0},
        std={"sst": 1.0},
        instruments={"other": replace(OTHER, bias=())},
    )
    calibration = Calibration(1)
    cost = VariationalCost(ObservationTerm(calibration, "other"))
    model = VarNet(Assimilator(cost, ConjugateGradients(), 1), space)
    obs.varnet.fit(
        model,
        Withhold(RandomFraction(0.5)),
        **QUICK | {"n_epochs": 100, "learning_rate": 0.05, "n_warmup": 1},
    )
    # 1.25 x - 3 = 1.25 (x - 15) + 15 + 0.75
    assert calibration.gain.item() == pytest.approx(1.25, abs=0.02)
    assert calibration.bias.item() == pytest.approx(0.75, abs=0.02)


def test_what_a_covariate_is_worth_is_learned_from_tracks_alone():
    """The weight of temperature, with gaps, is that of its regression on the whole of the sea level, never seen."""
    rng, share = np.random.default_rng(2), 0.8
    shape = (200, 12, 12)
    sst, rest = rng.standard_normal((2, *shape))
    level = share * sst + np.sqrt(1 - share**2) * rest
    passes = (np.arange(12)[:, None] + np.arange(12) + 5 * np.arange(200)[:, None, None]) % 12 < 2
    seen = np.where(passes, level + 0.3 * rng.standard_normal(shape), np.nan)
    obs = xr.Dataset({"ssh": (DIMS, seen), "sst": (DIMS, np.where(rng.random(shape) < 0.7, sst, np.nan))})
    space = StateSpace(
        ("ssh",),
        DIMS,
        {"time": 5, "y": 12, "x": 12},
        mean={"ssh": 0.0, "sst": 0.0},
        std={"ssh": 1.0, "sst": 1.0},
        covariates=("sst",),
    )
    start = CovariateStart(["sst"])
    model = VarNet(Assimilator(VariationalCost(ObservationTerm()), GradientDescent(1.0), 0, start), space)
    obs.varnet.fit(
        model,
        WholePasses(0.5),
        **QUICK | {"n_epochs": 25, "n_samples": 32, "n_validation": 64, "learning_rate": 0.03, "n_warmup": 1},
    )
    slope = np.polyfit(sst.ravel(), level.ravel(), 1)[0]
    assert start.calibration.gain.item() == pytest.approx(slope, abs=0.04)
    analysis = oceanvar.assimilate(obs, model)["ssh"].values
    assert np.square(analysis - level).mean() < 0.65 < 0.9 * np.square(level).mean()
