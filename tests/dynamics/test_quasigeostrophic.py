"""The quasi-geostrophic ocean: derivatives, invariants, waves, and what the labelled maker promises."""

import itertools
import math

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor

import oceanvar
from oceanvar.dynamics import FlowStep, QuasiGeostrophic
from oceanvar.dynamics.integrators import integrate, iterate
from oceanvar.dynamics.quasigeostrophic import planetary_vorticity_gradient, stream_function_per_metre
from oceanvar.errors import ConfigError, GridMismatchError
from oceanvar.registry import build, describe
from oceanvar.truths.oceans import one_day
from oceanvar.variational import GeostrophicCurrents, Observations

# Forward-mode differentiation makes torch import a deprecated part of itself.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")

SHAPE, LENGTHS = (24, 20), (600.0, 500.0)
FREE = {"growth": 0.0, "damping": 0.0, "friction": 0.0, "viscosity": 0.0, "relaxation": 0.0}
RADIUS = 30.0


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def smooth(seed: int = 0, n_variables: int = 1) -> Tensor:
    """Random waves of scales that a free flow keeps for some days, 0.1 m of sea level."""
    spectrum = torch.fft.rfft2(draw(1, n_variables, 1, *SHAPE, seed=seed))
    north = torch.fft.fftfreq(SHAPE[0], 1 / SHAPE[0])[:, None]
    east = torch.fft.rfftfreq(SHAPE[1], 1 / SHAPE[1])
    waves = torch.fft.irfft2(spectrum * torch.exp(-(north**2 + east**2) / 8), s=SHAPE)
    waves = waves - waves.mean((-2, -1), keepdim=True)
    return 0.1 * waves / waves.std()


def invariants(sea_level: Tensor, surface: bool) -> tuple[float, float]:
    """Energy -<psi q> / 2 and enstrophy <q^2> / 2 from the definitions, in numpy."""
    psi = np.fft.fft2(sea_level.numpy()[0, 0, 0]) * stream_function_per_metre(35.0)
    k2 = sum(
        np.square(axis)
        for axis in np.meshgrid(
            *(2 * np.pi * np.fft.fftfreq(n, length / n) for n, length in zip(SHAPE, LENGTHS, strict=True)),
            indexing="ij",
        )
    )
    vorticity = psi * (np.sqrt(k2) / RADIUS if surface else k2 + RADIUS**-2)
    return float((psi.conj() * vorticity).real.sum()), float((np.abs(vorticity) ** 2).sum())


@pytest.mark.parametrize("surface", [False, True])
@pytest.mark.parametrize("n_variables", [1, 3])
def test_pullback_and_tangent_equal_automatic_differentiation(surface: bool, n_variables: int) -> None:
    ocean = QuasiGeostrophic((12, 16), (400.0, 300.0), surface=surface, friction=0.02)
    x, tangent, cotangent = (0.2 * draw(2, n_variables, 2, 12, 16, seed=seed) for seed in range(3))
    _, vjp = torch.func.vjp(ocean.forward, x)
    _, jvp = torch.func.jvp(ocean.forward, (x,), (tangent,))
    value, pullback = ocean.linearize(x)
    torch.testing.assert_close(value, ocean(x), rtol=0, atol=0)
    torch.testing.assert_close(pullback(cotangent), vjp(cotangent)[0], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(ocean.jvp(x, tangent), jvp, rtol=1e-10, atol=1e-12)


def test_currents_derived_from_the_sea_level_are_those_of_the_ocean() -> None:
    """Two waves, for which a central difference is the derivative times a number that is known."""
    n, size, latitude = 48, 4.8, 35.0
    north, east = (torch.arange(n, dtype=torch.float64) * 2 * math.pi * waves / n for waves in (3, 2))
    level = (0.1 * torch.sin(north)[:, None] + 0.2 * torch.cos(east)).expand(1, 1, 1, n, n)
    ocean = one_day(n, size, {"latitude": latitude, "deformation_radius": RADIUS, "surface": False}).tendency
    own = torch.cat(ocean._flow(ocean._for(level), torch.fft.rfft2(level))[:2], dim=1)
    own = own * 1000 / 86_400 * torch.tensor([np.sinc(6 / n), np.sinc(4 / n)]).view(1, 2, 1, 1, 1)

    degrees = size / n * (torch.arange(n, dtype=torch.float64) - n // 2)
    covariates = {
        "latitude": (latitude + degrees)[:, None].expand(1, 1, 1, n, n),
        "longitude": degrees.expand(1, 1, 1, n, n),
    }
    obs = Observations({}, {}, covariates)
    derived = GeostrophicCurrents().double().bind(obs, "")(level)
    middle = (..., n // 2, slice(1, -1))  # the row at whose latitude the ocean has its plane
    torch.testing.assert_close(derived[middle], own[middle], rtol=1e-11, atol=1e-14)
    assert own[middle].abs().amax((0, 2, 3)).min() > 0.1


def test_a_model_step_has_an_exact_adjoint() -> None:
    step = FlowStep(QuasiGeostrophic((12, 16), (400.0, 300.0)), 1.0, n_substeps=8)
    x, tangent, cotangent = (0.1 * draw(2, 2, 3, 12, 16, seed=seed) for seed in range(3))
    forward = (step.jvp(x, tangent) * cotangent).sum().item()
    assert forward == pytest.approx((tangent * step.vjp(x, cotangent)).sum().item(), rel=1e-10)


@pytest.mark.parametrize("surface", [False, True])
def test_a_free_flow_conserves_energy_and_enstrophy(surface: bool) -> None:
    ocean = QuasiGeostrophic(SHAPE, LENGTHS, surface=surface, **FREE)
    start = smooth()
    first = invariants(start, surface)
    changes = []
    for n_steps in (40, 80):
        end = integrate(ocean, start, 5.0 / n_steps, n_steps)[-1]
        assert (end - start).abs().max() > 0.1
        changes.append(max(abs(b / a - 1) for a, b in zip(first, invariants(end, surface), strict=True)))
    # What is lost is the error of the time step, which falls at least as its fourth power.
    assert changes[1] < 1e-6
    assert changes[0] > 12 * changes[1]
    rate = ocean(start)
    step = 1e-4 / rate.abs().max()
    for before, after in zip(*(invariants(start + s * rate, surface) for s in (-step, step)), strict=True):
        assert after == pytest.approx(before, rel=1e-11)


def test_a_free_tracer_keeps_its_mean_and_variance() -> None:
    ocean = QuasiGeostrophic(SHAPE, LENGTHS, gradient=0.0, **FREE)
    start = smooth(n_variables=2)
    start[:, 1] += 3.0
    end = integrate(ocean, start, 0.05, 80)[-1]
    assert (end - start)[:, 1].abs().max() > 0.05
    assert end[:, 1].mean().item() == pytest.approx(3.0, abs=1e-12)
    assert end[:, 1].var().item() == pytest.approx(start[:, 1].var().item(), rel=1e-5)


def test_relaxation_and_background_gradient_of_a_tracer() -> None:
    ocean = QuasiGeostrophic(SHAPE, LENGTHS, gradient=-0.01, **FREE | {"relaxation": 0.1})
    rest = torch.zeros(1, 2, 1, *SHAPE, dtype=torch.float64)
    rest[:, 1] = 2.0
    torch.testing.assert_close(ocean(rest)[:, 1], -0.1 * rest[:, 1])
    east = torch.arange(SHAPE[1], dtype=torch.float64) / SHAPE[1]
    flow = torch.zeros_like(rest)
    flow[:, 0] = 0.1 * torch.sin(2 * torch.pi * east)
    wavenumber = 2 * torch.pi / LENGTHS[1]
    northward = stream_function_per_metre(35.0) * 0.1 * wavenumber * torch.cos(2 * torch.pi * east)
    expected = (0.01 * northward).expand(1, 1, *SHAPE)
    torch.testing.assert_close(ocean(flow)[:, 1], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("surface", [False, True])
def test_rossby_waves_move_west_with_their_phase_speed(surface: bool) -> None:
    ocean = QuasiGeostrophic(SHAPE, LENGTHS, surface=surface, **FREE)
    north, east = (torch.arange(n, dtype=torch.float64) / n for n in SHAPE)
    k, m = 2 * math.pi * 2 / LENGTHS[1], 2 * math.pi * 3 / LENGTHS[0]
    squared = k**2 + m**2
    stretching = math.sqrt(squared) / RADIUS if surface else squared + RADIUS**-2
    speed = -planetary_vorticity_gradient(35.0) / stretching

    def wave(time: float) -> Tensor:
        phase = k * (LENGTHS[1] * east - speed * time) + m * LENGTHS[0] * north[:, None]
        return 0.2 * torch.cos(phase)[None, None, None]

    # One plane wave does not advect itself, so that even a high one obeys the linear theory.
    torch.testing.assert_close(integrate(ocean, wave(0.0), 0.25, 80)[-1], wave(20.0), rtol=0, atol=1e-8)
    assert -15 < speed < 0  # km/day


def test_waves_grow_only_near_the_deformation_radius() -> None:
    ocean = QuasiGeostrophic((48, 48), (1200.0, 1200.0), **FREE | {"growth": 0.1})
    east = torch.arange(48, dtype=torch.float64) / 48

    def rate(number: int) -> float:
        wave = 1e-3 * torch.cos(2 * torch.pi * number * east).expand(1, 1, 1, 48, 48)
        return float((ocean(wave) * wave).mean() / wave.square().mean())

    rates = [rate(number) for number in (1, 4, 8, 12, 15)]  # k R = 0.16, 0.63, 1.26, 1.88, 2.36
    assert rates == pytest.approx([0, 0, 0.1 * (1 - (2 * 8 * math.pi / 20 - 2.6) ** 2), 0, 0], abs=1e-12)


def test_friction_takes_energy_at_the_rate_of_a_quadratic_drag() -> None:
    ocean = QuasiGeostrophic(SHAPE, LENGTHS, **FREE | {"friction": 0.01})
    x = smooth()
    psi = stream_function_per_metre(35.0) * x[0, 0, 0].numpy()
    u, v = (
        sign * np.fft.ifftn(
            1j * 2 * np.pi * np.fft.fftfreq(SHAPE[axis], LENGTHS[axis] / SHAPE[axis]).reshape((-1, 1)[:: 1 - 2 * axis])
            * np.fft.fft2(psi)
        ).real
        for axis, sign in ((0, -1), (1, 1))
    )  # fmt: skip
    loss = -0.01 * np.mean(np.hypot(u, v) ** 3)
    small = 1e-5
    before, after = (
        invariants(x + s * ocean(x), False)[0] / (2 * x[0, 0, 0].numel() ** 2) for s in (-small, small)
    )
    assert (after - before) / (2 * small) == pytest.approx(loss, rel=1e-3)


def test_the_integration_is_of_fourth_order() -> None:
    ocean, start = QuasiGeostrophic(SHAPE, LENGTHS), smooth(n_variables=2)
    exact = integrate(ocean, start, 1 / 64, 64)[-1]
    errors = [
        (integrate(ocean, start, 1 / n_steps, n_steps)[-1] - exact).abs().max().item() for n_steps in (8, 16)
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.3)


def test_single_precision_stays_and_scales_out_of_reach_do_not_move() -> None:
    ocean = QuasiGeostrophic(SHAPE, LENGTHS)
    assert ocean(smooth().float()).dtype is torch.float32
    chequered = torch.ones(1, 2, 1, *SHAPE, dtype=torch.float64)
    chequered[..., ::2] = -1
    chequered[:, :, :, ::2] *= -1
    torch.testing.assert_close(ocean(chequered), torch.zeros_like(chequered), rtol=0, atol=1e-12)


def test_it_is_described_by_plain_values() -> None:
    ocean = QuasiGeostrophic(SHAPE, LENGTHS, surface=True, growth=0.2)
    torch.testing.assert_close(build(describe(ocean))(smooth()), ocean(smooth()), rtol=0, atol=0)


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match="latitude off the equator"):
        QuasiGeostrophic(SHAPE, LENGTHS, latitude=0.0)
    with pytest.raises(ConfigError, match="friction"):
        QuasiGeostrophic(SHAPE, LENGTHS, friction=-1.0)
    with pytest.raises(GridMismatchError, match=r"24, 20\); got \(1, 1, 1, 20, 24\)"):
        QuasiGeostrophic(SHAPE, LENGTHS)(smooth().mT)
    with pytest.raises(ConfigError, match="whole steps"):
        oceanvar.quasigeostrophic(2, resolution=0.3)
    with pytest.raises(ConfigError, match="a seed"):
        oceanvar.quasigeostrophic(2, seed=[])
    with pytest.raises(ConfigError, match="n_states = 0"):
        iterate(FlowStep(QuasiGeostrophic(SHAPE, LENGTHS), 1.0), smooth().numpy(), 0)
    with pytest.raises(ConfigError, match="unstable"):
        iterate(FlowStep(QuasiGeostrophic(SHAPE, LENGTHS), 5.0), 30 * smooth().numpy(), 30)


@pytest.fixture(scope="module")
def ocean() -> xr.Dataset:
    """A month of a coarse ocean."""
    return oceanvar.quasigeostrophic(30, seed=3, resolution=10 / 64, n_spinup=120)


def test_it_looks_like_an_ocean(ocean: xr.Dataset) -> None:
    assert dict(ocean.sizes) == {"time": 30, "latitude": 64, "longitude": 64}
    assert ocean.ssh.dtype == ocean.sst.dtype == np.float32
    assert (ocean.ssh.attrs["units"], ocean.sst.attrs["units"]) == ("m", "degree_Celsius")
    assert 0.08 < float(ocean.ssh.std()) < 0.25
    assert abs(float(ocean.ssh.mean(("latitude", "longitude")).max())) < 1e-6
    northward = ocean.ssh.differentiate("longitude") / (111.2 * math.cos(math.radians(35)))
    speed = float(stream_function_per_metre(35.0) * northward.std() / 86.4)
    assert 0.1 < speed < 0.5  # m/s, of one component
    temperature = ocean.sst.mean(("time", "longitude"))
    assert -1.2 < float(temperature.polyfit("latitude", 1).polyfit_coefficients[0]) < -0.6
    assert 0.5 < float((ocean.sst - temperature).std()) < 2


def test_its_spectrum_falls_steeply_below_the_eddies(ocean: xr.Dataset) -> None:
    wavenumbers = [
        2 * np.pi * np.fft.fftfreq(64, length / 64)
        for length in (1111.95, 1111.95 * math.cos(math.radians(35)))
    ]
    k = np.hypot(*np.meshgrid(*wavenumbers, indexing="ij"))
    power = (np.abs(np.fft.fft2(ocean.ssh.values)) ** 2).mean(0) * k**2
    edges = 2 * np.pi / np.array([150.0, 110.0, 80.0])
    means = [power[(k > low) & (k < high)].mean() * (low + high) for low, high in itertools.pairwise(edges)]
    middles = (edges[1:] + edges[:-1]) / 2
    slope = np.log(means[1] / means[0]) / np.log(middles[1] / middles[0])
    assert -7 < slope < -3  # of kinetic energy; two-dimensional turbulence without eddies of its own has -3


def test_small_eddies_outlive_the_coarse_grid_of_the_spinup() -> None:
    small = oceanvar.quasigeostrophic(2, resolution=10 / 48, deformation_radius=25.0, n_spinup=200, seed=2)
    assert 0.05 < float(small.ssh.std()) < 0.25


def test_seeds_are_oceans_of_their_own_and_a_batch_is_the_same_one_by_one() -> None:
    options = {"resolution": 0.25, "size": 5.0, "n_spinup": 10}
    both = oceanvar.quasigeostrophic(5, seed=[4, 7], **options)
    alone = oceanvar.quasigeostrophic(5, seed=7, **options)
    xr.testing.assert_identical(
        both.sel(trajectory=7, drop=True).drop_attrs(deep=False), alone.drop_attrs(deep=False)
    )
    assert abs(float(xr.corr(both.ssh[0], both.ssh[1]))) < 0.6
    assert list(both.trajectory.values) == [4, 7]
    longer = oceanvar.quasigeostrophic(7, seed=7, **options)
    xr.testing.assert_equal(longer.isel(time=slice(5)), alone)
