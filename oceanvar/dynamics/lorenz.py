"""The two systems of Lorenz, as tendencies dx/dt = f(x) with hand-written tangent and adjoint."""

from typing import final

import torch
from torch import Tensor, nn

from oceanvar.errors import MissingVariableError
from oceanvar.maps.base import AbstractMap, Pullback
from oceanvar.registry import registered


@final
@registered
class Lorenz63(AbstractMap):
    """Tendency of the Lorenz-63 system: dx = sigma (y - x), dy = x (rho - z) - y, dz = x y - beta z.

    States have shape (B, 3, ...), the variables x, y, z on axis 1, in the units of the paper.

    Parameters
    ----------
    sigma, rho, beta : float
        Prandtl number, relative Rayleigh number, geometric factor; dimensionless.
    trainable : bool
        Whether the three are parameters that training may change.

    References
    ----------
    Lorenz (1963), Deterministic Nonperiodic Flow, J. Atmos. Sci. 20, 130-141, eqs. 25-27.
    """

    sigma: Tensor
    rho: Tensor
    beta: Tensor

    def __init__(
        self, sigma: float = 10.0, rho: float = 28.0, beta: float = 8 / 3, trainable: bool = False
    ) -> None:
        super().__init__()
        _store(self, {"sigma": sigma, "rho": rho, "beta": beta}, trainable)

    def forward(self, x: Tensor) -> Tensor:
        """Tendency at the state `x`, shape (B, 3, ...)."""
        u, v, w = _three(x)
        return torch.stack((self.sigma * (v - u), u * (self.rho - w) - v, u * v - self.beta * w), dim=1)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Tendency at `x` and the adjoint of its linearisation."""
        u, v, w = _three(x)
        sigma, rho, beta = self.sigma, self.rho, self.beta

        def pullback(cotangent: Tensor) -> Tensor:
            p, q, r = _three(cotangent)
            return torch.stack(
                (v * r - sigma * p + (rho - w) * q, sigma * p - q + u * r, -u * q - beta * r), dim=1
            )

        return self.forward(x), pullback

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Change of the tendency at `x` for the perturbation `tangent`."""
        u, v, w = _three(x)
        du, dv, dw = _three(tangent)
        return torch.stack(
            (self.sigma * (dv - du), (self.rho - w) * du - dv - u * dw, v * du + u * dv - self.beta * dw),
            dim=1,
        )


@final
@registered
class Lorenz96(AbstractMap):
    """Tendency of the Lorenz-96 system: dx_i = (x_(i+1) - x_(i-2)) x_(i-1) - x_i + F, periodic in i.

    States have the sites on the last axis, any number of them; all other axes are independent.

    Parameters
    ----------
    forcing : float
        F; 8 gives chaos whose unit of time is about five days of weather.
    trainable : bool
        Whether the forcing is a parameter that training may change.

    References
    ----------
    Lorenz (1996), Predictability: a problem partly solved, ECMWF Seminar on Predictability I, 1-18, eq. 1.
    """

    forcing: Tensor

    def __init__(self, forcing: float = 8.0, trainable: bool = False) -> None:
        super().__init__()
        _store(self, {"forcing": forcing}, trainable)

    def forward(self, x: Tensor) -> Tensor:
        """Tendency at the state `x`, shape (..., site)."""
        return _site(x, -1) * (_site(x, 1) - _site(x, -2)) - x + self.forcing

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Tendency at `x` and the adjoint of its linearisation."""
        carrier, contrast = _site(x, -1), _site(x, 1) - _site(x, -2)

        def pullback(cotangent: Tensor) -> Tensor:
            weighted = carrier * cotangent
            # Site i reads the sites i+1, i-2 and i-1, so each site collects from i-1, i+2 and i+1.
            return _site(weighted, -1) - _site(weighted, 2) + _site(contrast * cotangent, 1) - cotangent

        return carrier * contrast - x + self.forcing, pullback

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Change of the tendency at `x` for the perturbation `tangent`."""
        change = _site(tangent, -1) * (_site(x, 1) - _site(x, -2))
        return change + _site(x, -1) * (_site(tangent, 1) - _site(tangent, -2)) - tangent


def _store(module: nn.Module, values: dict[str, float], trainable: bool) -> None:
    for name, value in values.items():
        # Kept in double precision: a scalar tensor takes the precision of the state it meets.
        tensor = torch.tensor(value, dtype=torch.float64)
        if trainable:
            module.register_parameter(name, nn.Parameter(tensor))
        else:
            module.register_buffer(name, tensor)


def _three(state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if state.ndim < 2 or state.shape[1] != 3:
        raise MissingVariableError(
            f"Lorenz-63 needs three variables on axis 1; got a state of shape {tuple(state.shape)}"
        )
    first, second, third = state.unbind(1)
    return first, second, third


def _site(state: Tensor, offset: int) -> Tensor:
    """Value at the site `offset` places further on, seen from every site."""
    return torch.roll(state, -offset, dims=-1)
