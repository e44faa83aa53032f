"""Quasi-geostrophic sea level in a doubly periodic box, with tracers that it stirs, and its exact adjoint."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor

from oceanvar.errors import ConfigError, GridMismatchError
from oceanvar.labels import earth
from oceanvar.maps.base import AbstractMap, Pullback
from oceanvar.registry import registered

SECONDS_PER_DAY = 86_400.0

_LEAST_SPEED = 1e-3  # km/day: keeps the derivative of the speed finite where the water is at rest
_GROWING = (0.8, 1.8)  # wavenumbers times deformation radius between which eddies are fed


@final
@registered
class QuasiGeostrophic(AbstractMap):
    """Tendency of quasi-geostrophic sea level and of tracers on a beta plane, pseudo-spectral.

    States have shape (B, V, ..., latitude, longitude): sea level in m, then V - 1 tracers, as departures
    from their mean meridional gradient. The tendency is per day. With psi = g h / f, (u, v) = (-psi_y, psi_x)::

        dq/dt = -u q_x - v q_y - beta v + growth(k) q - damping q - viscosity(k) q - curl(friction |u| u),
        dc/dt = -u c_x - v c_y - gradient v - relaxation c - viscosity(k) c,

    q = Laplacian(psi) - psi / R^2 for one active layer over a deep one at rest (Vallis, 2017, Atmospheric and
    Oceanic Fluid Dynamics, chapter 5), or q^ = -(k / R) psi^ for the surface variant (Held et al., 1995,
    J. Fluid Mech. 282, 1-20, in units that make q comparable). Such a layer has no instability of its
    own: `growth` stands for the one that feeds eddies, between the wavenumbers 0.8/R and 1.8/R.

    Products are free of aliasing: a circle of wavenumbers is kept that obeys the two-thirds rule along both
    axes, and scales beyond it are neither seen nor changed. The mean of sea level stays as it is.

    Parameters
    ----------
    shape : (int, int)
        Points along latitude and longitude.
    lengths : (float, float)
        Size of the box along latitude and longitude, km.
    latitude : float
        Centre of the beta plane, degrees north; not the equator.
    deformation_radius : float
        R, km.
    surface : bool
        The surface variant.
    growth : float
        Greatest growth rate, 1/day.
    damping : float
        Of q at all scales, 1/day.
    friction : float
        Quadratic bottom drag over depth of the layer, 1/km.
    viscosity : float
        Rate of the eighth-order dissipation at the smallest scale kept, 1/day.
    gradient : float
        Of the mean tracer to the north, tracer units per km.
    relaxation : float
        Of tracers to that mean, 1/day.

    Raises
    ------
    ConfigError
        If a number is out of range.
    """

    _symbols: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        lengths: Sequence[float],
        latitude: float = 35.0,
        deformation_radius: float = 30.0,
        surface: bool = False,
        growth: float = 0.09,
        damping: float = 0.01,
        friction: float = 1e-3,
        viscosity: float = 3.0,
        gradient: float = -8e-3,
        relaxation: float = 0.02,
    ) -> None:
        super().__init__()
        rates = {"growth": growth, "damping": damping, "friction": friction, "viscosity": viscosity}
        _check(shape, lengths, latitude, deformation_radius, rates | {"relaxation": relaxation})
        self._shape = tuple(shape)
        self._friction, self._gradient = friction, gradient
        self._beta = planetary_vorticity_gradient(latitude)
        north, east = _wavenumbers(shape, lengths)
        wavenumber = (north**2 + east**2).sqrt()
        relative = wavenumber / shortest_scale(shape, lengths)
        stretching = wavenumber / deformation_radius if surface else wavenumber**2 + deformation_radius**-2
        dissipation = viscosity * relative**8
        symbols = _multipliers(
            (north, east),
            (relative < 0.999).double(),
            stream_function_per_metre(latitude),
            stretching,
            growth * _growing(wavenumber * deformation_radius) - damping - dissipation,
            -relaxation - dissipation,
        )
        # Complex even where they are real: torch multiplies like with like several times faster.
        stacked = torch.stack([symbol.to(torch.complex128) for symbol in symbols])
        # As pairs of real numbers: a module that changes its precision would make complex ones real.
        self.register_buffer("_symbols", torch.view_as_real(stacked), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Tendency at the state `x`, shape (B, V, ..., latitude, longitude), per day."""
        return self.linearize(x)[0]

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Tendency at `x` and the adjoint of its linearisation."""
        symbols, spectrum = self._for(x), torch.fft.rfft2(x)
        u, v, carried = self._flow(symbols, spectrum)
        speed = (u**2 + v**2 + _LEAST_SPEED**2).sqrt()
        drag = (self._friction * speed * v, -self._friction * speed * u)
        value = self._tendency(symbols, spectrum, (u * carried, v * carried), drag)

        def pullback(cotangent: Tensor) -> Tensor:
            # The transpose of a derivative is its negative; of an even multiplier, itself.
            adjoint = torch.fft.rfft2(cotangent)
            forced = _each(symbols.inversion, symbols.kept, adjoint)
            on_east, on_north = self._back(symbols.east * forced), self._back(symbols.north * forced)
            p, r = on_east[:, :1], on_north[:, :1]
            along = self._friction * (v * p - u * r) / speed
            on_u = (carried * on_east).sum(1, keepdim=True) - self._friction * speed * r + along * u
            on_v = (carried * on_north).sum(1, keepdim=True) + self._friction * speed * p + along * v
            on_carried = torch.fft.rfft2(u * on_east + v * on_north)
            background = self._beta * forced[:, :1] + self._gradient * forced[:, 1:].sum(1, keepdim=True)
            on_current = symbols.current_east * torch.fft.rfft2(on_u)
            on_current = on_current + symbols.current_north * (torch.fft.rfft2(on_v) - background)
            total = _each(symbols.vorticity, symbols.kept, on_carried)
            total = total + _each(symbols.sea_rate, symbols.tracer_rate, adjoint)
            return self._back(torch.cat((total[:, :1] - on_current, total[:, 1:]), dim=1))

        return value, pullback

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Change of the tendency at `x` for the perturbation `tangent`."""
        symbols, change = self._for(x), torch.fft.rfft2(tangent)
        u, v, carried = self._flow(symbols, torch.fft.rfft2(x))
        du, dv, d_carried = self._flow(symbols, change)
        speed = (u**2 + v**2 + _LEAST_SPEED**2).sqrt()
        d_speed = (u * du + v * dv) / speed
        drag = (self._friction * (speed * dv + d_speed * v), -self._friction * (speed * du + d_speed * u))
        fluxes = (du * carried + u * d_carried, dv * carried + v * d_carried)
        return self._tendency(symbols, change, fluxes, drag)

    def _for(self, x: Tensor) -> "_Symbols":
        if x.ndim < 4 or x.shape[-2:] != self._shape:
            raise GridMismatchError(
                f"this ocean has states (batch, variable, ..., {self._shape[0]}, {self._shape[1]}); got "
                f"{tuple(x.shape)}"
            )
        dtype = torch.float32 if x.dtype is torch.float32 else torch.float64
        return _Symbols(*torch.view_as_complex(self._symbols.to(dtype)))

    def _flow(self, symbols: "_Symbols", spectrum: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Currents u and v in km/day, and what they carry: vorticity in 1/day, tracers."""
        u = self._back(symbols.current_east * spectrum[:, :1])
        v = self._back(symbols.current_north * spectrum[:, :1])
        return u, v, self._back(_each(symbols.vorticity, symbols.kept, spectrum))

    def _tendency(
        self,
        symbols: "_Symbols",
        spectrum: Tensor,
        fluxes: tuple[Tensor, Tensor],
        drag: tuple[Tensor, Tensor],
    ) -> Tensor:
        """Minus the divergence of the fluxes (the drag turned by a right angle is one), and the linear part."""
        east, north = (
            torch.fft.rfft2(torch.cat((flux[:, :1] + force, flux[:, 1:]), dim=1))
            for flux, force in zip(fluxes, drag, strict=True)
        )
        current = symbols.current_north * spectrum[:, :1]
        forced = -(symbols.east * east + symbols.north * north)
        sea = forced[:, :1] - self._beta * current
        tracers = forced[:, 1:] - self._gradient * current
        change = _each(symbols.inversion, symbols.kept, torch.cat((sea, tracers), dim=1))
        return self._back(change + _each(symbols.sea_rate, symbols.tracer_rate, spectrum))

    def _back(self, spectrum: Tensor) -> Tensor:
        return torch.fft.irfft2(spectrum, s=self._shape)


class _Symbols(NamedTuple):
    """Fourier multipliers over (north, east) wavenumbers."""

    east: Tensor
    north: Tensor
    current_east: Tensor
    current_north: Tensor
    vorticity: Tensor
    inversion: Tensor
    kept: Tensor
    sea_rate: Tensor
    tracer_rate: Tensor


def _multipliers(
    wavenumbers: tuple[Tensor, Tensor],
    kept: Tensor,
    stream_function: float,
    stretching: Tensor,
    sea_rate: Tensor,
    tracer_rate: Tensor,
) -> _Symbols:
    """Multipliers on the scales that are kept; those of sea level leave out its mean."""
    north, east = wavenumbers
    sea = kept * (stretching > stretching.min())
    vorticity = -stretching * stream_function
    return _Symbols(
        east=1j * east * kept,
        north=1j * north * kept,
        current_east=-1j * north * sea * stream_function,
        current_north=1j * east * sea * stream_function,
        vorticity=vorticity * sea,
        inversion=sea / torch.where(sea > 0, vorticity, torch.ones_like(vorticity)),
        kept=kept,
        sea_rate=sea_rate * sea,
        tracer_rate=tracer_rate * kept,
    )


def _check(
    shape: Sequence[int],
    lengths: Sequence[float],
    latitude: float,
    deformation_radius: float,
    rates: Mapping[str, float],
) -> None:
    wrong = {name: value for name, value in rates.items() if not 0 <= value < math.inf}
    if wrong or min(*lengths, deformation_radius) <= 0 or min(shape) < 4 or not 0 < abs(latitude) < 90:
        raise ConfigError(
            f"a box needs at least 4 x 4 points (given {tuple(shape)}), positive lengths (given "
            f"{tuple(lengths)} km and R = {deformation_radius} km), a latitude off the equator and the poles "
            f"(given {latitude}) and rates that are not negative (wrong: {wrong})"
        )


def stream_function_per_metre(latitude: float) -> float:
    """Geostrophic stream function g / f of one metre of sea level, km^2/day."""
    return earth.GRAVITY / _coriolis(latitude) * SECONDS_PER_DAY * 1e-6


def planetary_vorticity_gradient(latitude: float) -> float:
    """Beta, the derivative of the Coriolis parameter to the north, 1/(km day)."""
    return 2 * earth.ROTATION * math.cos(math.radians(latitude)) / earth.RADIUS * SECONDS_PER_DAY


def _coriolis(latitude: float) -> float:
    return 2 * earth.ROTATION * math.sin(math.radians(latitude))


def shortest_scale(shape: Sequence[int], lengths: Sequence[float]) -> float:
    """Largest wavenumber that the two-thirds rule keeps along both axes, rad/km."""
    return 2 * math.pi / 3 * min(n / length for n, length in zip(shape, lengths, strict=True))


def _wavenumbers(shape: Sequence[int], lengths: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Wavenumbers to the north and to the east, rad/km."""
    cycles = (
        torch.fft.fftfreq(shape[0], dtype=torch.float64)[:, None],
        torch.fft.rfftfreq(shape[1], dtype=torch.float64)[None],
    )
    north, east = (
        2 * math.pi * n / length * cycle for n, length, cycle in zip(shape, lengths, cycles, strict=True)
    )
    return north, east


def _growing(scaled: Tensor) -> Tensor:
    """Parabola from 0 over 1 to 0 between the wavenumbers that grow."""
    low, high = _GROWING
    return (1 - ((2 * scaled - low - high) / (high - low)) ** 2).clamp_min(0)


def _each(first: Tensor, others: Tensor, spectrum: Tensor) -> Tensor:
    """Multiply the first variable by one symbol and all others by another."""
    return torch.cat((first * spectrum[:, :1], others * spectrum[:, 1:]), dim=1)
