"""Observation operators against closed forms, dense algebra and their own adjoints."""

import numpy as np
import pytest
import torch

from oceanvar.errors import ConfigError
from oceanvar.maps import AbstractMap, Identity
from oceanvar.variational import (
    AbstractStart,
    AlongTrack,
    Assimilator,
    BeamAverage,
    Calibration,
    ConjugateGradients,
    GeostrophicCurrents,
    InterpolatedStart,
    Observations,
    ObservationTerm,
    Select,
    SpeedAndDirection,
    SwathWhitening,
    TrackWhitening,
    VariationalCost,
)
from oceanvar.variational.operators.tracks import AtPositions

SHAPE = (2, 3, 5, 6)
F64 = torch.float64


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(3)


def samples(batch: int = 2) -> Observations:
    """Scattered observations in the order of time, the last two of them padding, and a grid in degrees."""
    positions = torch.rand(batch, 8, 3, dtype=F64) * torch.tensor([2.0, 4.0, 5.0], dtype=F64)
    positions[..., 0] = positions[..., 0].sort(dim=1).values
    weights = torch.rand(batch, 2, 8, dtype=F64) + 0.5
    weights[..., -2:] = 0
    weights[0, 0, 3] = 0
    latitude = (30 + 0.25 * torch.arange(5, dtype=F64)).view(1, 1, 1, 5, 1).expand(batch, 1, 3, 5, 6)
    longitude = (359 + 0.25 * torch.arange(6, dtype=F64)) % 360
    return Observations(
        values={"nadir": torch.randn(batch, 2, 8, dtype=F64) * (weights > 0)},
        weights={"nadir": weights},
        covariates={"latitude": latitude, "longitude": longitude.view(1, 1, 1, 1, 6).expand_as(latitude)},
        positions={"nadir": positions},
    )


def test_interpolation_is_exact_for_multilinear_fields_and_takes_the_nearest_border_beyond():
    t, y, x = torch.meshgrid(*(torch.arange(float(n), dtype=F64) for n in SHAPE[1:]), indexing="ij")
    field = (1 + t) * (2 - 0.5 * y) * (x + 0.1)
    positions = torch.rand(1, 20, 3, dtype=F64) * torch.tensor([2.0, 4.0, 5.0], dtype=F64)
    t, y, x = positions[0].T
    expected = (1 + t) * (2 - 0.5 * y) * (x + 0.1)
    torch.testing.assert_close(AtPositions(positions)(field.expand(1, 1, -1, -1, -1))[0, 0], expected)
    beyond = torch.tensor([[[-0.5, -0.2, 5.5]]], dtype=F64)
    assert AtPositions(beyond)(field.expand(1, 1, -1, -1, -1)).item() == field[0, 0, 5].item()


def test_beam_keeps_constants_and_its_width_is_the_standard_deviation():
    constant = torch.full((1, 1, 1, 9, 8), 3.0, dtype=F64)
    beam = BeamAverage([0, 1.5, 2.0], [False, False, True]).double()
    torch.testing.assert_close(beam(constant), constant)
    field = torch.randn_like(constant)
    torch.testing.assert_close(beam(field.roll(3, -1)), beam(field).roll(3, -1))
    point = torch.zeros(1, 1, 61, dtype=F64)
    point[..., 30] = 1
    spread = BeamAverage([4.0]).double()(point)[0, 0]
    assert (spread * (torch.arange(61) - 30.0) ** 2).sum().sqrt().item() == pytest.approx(4.0, rel=1e-3)


def test_geostrophic_currents_of_a_tilted_sea():
    """1 m over 1 degree of latitude, and a tilt in longitude across the meridian, against the formula."""
    obs = samples()
    latitude = obs.covariates["latitude"]
    operator = GeostrophicCurrents(n_variables=2, variable=1).double()
    operator.level.maps[0].std.copy_(torch.tensor([1.0, 2.0]))
    degrees_east = 0.25 * torch.arange(6, dtype=F64)
    level = (latitude - 30 + 3 * degrees_east).expand(2, 1, 3, 5, 6) / 2
    state = torch.cat((torch.randn_like(level), level), dim=1)
    u, v = operator.bind(obs, "nadir")(state).unbind(1)
    f = 2 * 7.2921e-5 * torch.sin(torch.deg2rad(latitude[:, 0]))
    metre_per_degree = 6_371_000 * np.pi / 180
    torch.testing.assert_close(u, -9.81 / f / metre_per_degree)
    wide = metre_per_degree * torch.cos(torch.deg2rad(latitude[:, 0]))
    torch.testing.assert_close(v, 9.81 / f * 3 / wide)
    assert (u < 0).all(), "north of the equator, high sea level in the north drives a current to the west"


def test_currents_stay_finite_at_the_equator():
    obs = samples()
    obs.covariates["latitude"] = obs.covariates["latitude"] - 30.5
    currents = GeostrophicCurrents().double().bind(obs, "")(torch.randn(2, 1, 3, 5, 6, dtype=F64))
    assert torch.isfinite(currents).all()


BOUND = {
    "along_track": lambda: AlongTrack(),
    "beam_of_one_variable_miscalibrated": lambda: AlongTrack(BeamAverage([0.0, 1.0, 1.0]), Calibration(2)),
    "currents": lambda: GeostrophicCurrents(2),
    "speed": lambda: GeostrophicCurrents(2, 1, SpeedAndDirection(0.1)),
    "speed_along_track": lambda: AlongTrack(GeostrophicCurrents(2, 1, SpeedAndDirection(0.1))),
    "track_whitening": lambda: TrackWhitening(2.0, pause=0.5),
}


@pytest.mark.parametrize("name", BOUND)
def test_dot_product_and_autograd_of_bound_operators(name):
    each = BOUND[name]().double().bind(samples(), "nadir")
    x = torch.randn(2, 2, 8, dtype=F64) if "whitening" in name else torch.randn(2, *SHAPE, dtype=F64)
    tangent = torch.randn_like(x)
    value, pushed = torch.func.jvp(each.forward, (x,), (tangent,))
    linear_value, pullback = each.linearize(x)
    cotangent = torch.randn_like(value)
    torch.testing.assert_close(linear_value, value, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(each.jvp(x, tangent), pushed, rtol=1e-11, atol=1e-11)
    left, right = (pushed * cotangent).sum(), (tangent * pullback(cotangent)).sum()
    torch.testing.assert_close(left, right, rtol=1e-11, atol=1e-11)


def correlation(path: torch.Tensor, length: float) -> torch.Tensor:
    return torch.exp(-(path[:, None] - path).abs() / length)


def test_swath_whitening_is_the_inverse_root_of_the_covariance_of_what_was_observed():
    """|W e|^2 = e^T C^-1 e with C of the observed points alone, and gaps are never read."""
    weights = (torch.rand(2, 1, 3, 5, 6) > 0.4).double()
    obs = Observations({"swath": weights}, {"swath": weights})
    for axis in (2, 3, 4):
        white = SwathWhitening(3.0, axis).bind(obs, "swath")
        errors = torch.randn_like(weights)
        poisoned = torch.where(weights > 0, errors, 1e6)
        assert torch.equal(white(poisoned), white(errors))
        lines = zip(
            *(a.movedim(axis, -1).flatten(0, -2) for a in (errors, weights, white(errors))), strict=True
        )
        for e, w, r in lines:
            path = torch.arange(float(len(e)), dtype=F64)[w > 0]
            e = e[w > 0]
            expected = e @ torch.linalg.solve(correlation(path, 3.0), e) if len(e) else torch.zeros(())
            assert r.square().sum().item() == pytest.approx(expected.item(), rel=1e-9, abs=1e-12)


def test_track_whitening_follows_the_path_and_breaks_between_passes():
    positions = torch.tensor(
        [[0.0, 0, 0], [1e-4, 3, 4], [2e-4, 3, 5], [0.7, 3, 5], [0.7001, 2, 5]], dtype=F64
    )
    mask = torch.ones(1, 1, 5, dtype=F64)
    obs = Observations({"n": mask}, {"n": mask}, positions={"n": positions[None]})
    errors = torch.randn(1, 1, 5, dtype=F64)
    white = TrackWhitening(2.0).bind(obs, "n")(errors)
    e, path = errors[0, 0], torch.tensor([0.0, 5, 6, 1e3, 1e3 + 1], dtype=F64)
    expected = e @ torch.linalg.solve(correlation(path, 2.0), e)
    assert white.square().sum().item() == pytest.approx(expected.item(), rel=1e-9)


def test_correlated_errors_enter_the_cost_as_their_inverse_covariance():
    """With variances and correlation, N U / lambda = d^T R^-1 d for R = D^1/2 C D^1/2."""
    weights = torch.rand(1, 1, 7, dtype=F64) + 0.5
    weights[..., 2] = 0
    values = torch.randn(1, 1, 7, dtype=F64) * (weights > 0)
    obs = Observations({"a": values}, {"a": weights})
    x = torch.randn(1, 1, 7, dtype=F64)
    term = ObservationTerm(name="a", whitening=SwathWhitening(2.0, 2)).double()
    seen = weights[0, 0] > 0
    d = (x - values)[0, 0, seen]
    std = weights[0, 0, seen] ** -0.5
    covariance = std[:, None] * correlation(torch.arange(7.0, dtype=F64)[seen], 2.0) * std
    expected = d @ torch.linalg.solve(covariance, d) / 7
    assert term.cost(x, obs).item() == pytest.approx(expected.item(), rel=1e-9)


class ZeroStart(AbstractStart):
    def forward(self, obs):
        return torch.zeros(len(obs.values["nadir"]), *SHAPE, dtype=obs.values["nadir"].dtype)


class Smooth(AbstractMap):
    def forward(self, x):
        return 0.3 * x


def instruments() -> VariationalCost:
    """Two instruments with operators, errors and weights of their own, one of them with correlated errors."""
    return VariationalCost(
        ObservationTerm(
            AlongTrack(BeamAverage([0, 1, 1]), Calibration(2)),
            "nadir",
            0.7,
            whitening=TrackWhitening(1.5, pause=0.5),
        ),
        ObservationTerm(Select([1]), "gridded", weight=0.4, variances=[2.0]),
        ObservationTerm(Identity(), "first_guess", weight=0.1),
    ).double()


def observed_twice(batch: int = 2) -> Observations:
    obs = samples(batch=batch)
    gridded = (torch.rand(batch, 1, *SHAPE[1:]) > 0.6).double()
    guess = torch.zeros(batch, *SHAPE, dtype=F64)
    return Observations(
        {**obs.values, "gridded": torch.randn_like(gridded) * gridded, "first_guess": guess},
        {**obs.weights, "gridded": gridded, "first_guess": guess + 1},
        positions=obs.positions,
    )


def test_gradient_of_several_instruments_agrees_with_autograd():
    obs, cost = observed_twice(), instruments()
    x = torch.randn(2, *SHAPE, dtype=F64, requires_grad=True)
    value, gradient = cost.cost_and_gradient(x, obs)
    (expected,) = torch.autograd.grad(cost(x, obs).sum(), x)
    torch.testing.assert_close(value, cost(x, obs))
    torch.testing.assert_close(gradient, expected, rtol=1e-11, atol=1e-13)
    v, w = torch.randn_like(x), torch.randn_like(x)
    left = (cost.at(x, obs).product(v) * w).sum()
    torch.testing.assert_close(left, (cost.at(x, obs).product(w) * v).sum(), rtol=1e-10, atol=1e-12)


def test_two_instruments_reach_the_normal_equations_in_any_batch_and_with_any_padding():
    obs = observed_twice(3)
    assimilator = Assimilator(instruments(), ConjugateGradients(), 40, start=ZeroStart())
    analysis = assimilator.solve(obs).state
    assert assimilator.cost.gradient(analysis, obs).abs().max() < 1e-10
    alone = torch.cat([assimilator.solve(obs[[i]]).state for i in range(3)])
    torch.testing.assert_close(alone, analysis, rtol=1e-9, atol=1e-9)

    def padded(x: torch.Tensor, axis: int) -> torch.Tensor:
        return torch.cat((x, x.new_zeros(*x.shape[:axis], 5, *x.shape[axis + 1 :])), dim=axis)

    longer = Observations(
        {**obs.values, "nadir": padded(obs.values["nadir"], 2)},
        {**obs.weights, "nadir": padded(obs.weights["nadir"], 2)},
        positions={"nadir": padded(obs.positions["nadir"], 1)},
    )
    torch.testing.assert_close(assimilator.solve(longer).state, analysis, rtol=1e-9, atol=1e-9)
    poisoned = Observations(
        {n: torch.where(obs.weights[n] > 0, v, 1e6) for n, v in obs.values.items()},
        obs.weights,
        positions=obs.positions,
    )
    assert torch.equal(assimilator.solve(poisoned).state, analysis)


def test_clear_errors():
    with pytest.raises(ValueError, match="widths of a beam"):
        BeamAverage([0.0, 0.0])
    with pytest.raises(ValueError, match="eps must be positive"):
        SpeedAndDirection(0.0)
    with pytest.raises(ValueError, match="length of the error correlation"):
        TrackWhitening(0.0)
    with pytest.raises(ValueError, match="axis must be 2"):
        SwathWhitening(1.0, 1)
    obs = observed_twice()
    with pytest.raises(ConfigError, match="'nadir' observe 2 variables and the state has 1"):
        InterpolatedStart("gridded", tracks=["nadir"])(obs)
