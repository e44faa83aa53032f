"""Penalties rho on residuals."""

import abc
from typing import final

import torch
from torch import Tensor

from oceanvar.errors import ConfigError
from oceanvar.registry import registered


class AbstractPenalty(abc.ABC):
    """A function rho(r) of one residual, with what first- and second-order solvers need of it."""

    @abc.abstractmethod
    def value(self, residual: Tensor) -> Tensor:
        """rho(r)."""

    @abc.abstractmethod
    def derivative(self, residual: Tensor) -> Tensor:
        """rho'(r)."""

    @abc.abstractmethod
    def curvature(self, residual: Tensor) -> Tensor:
        """rho''(r), at least 0: the weight of a residual in the Gauss-Newton matrix."""


@registered
@final
class Squared(AbstractPenalty):
    """rho(r) = r^2: Gaussian errors."""

    def value(self, residual: Tensor) -> Tensor:
        """r^2."""
        return residual.square()

    def derivative(self, residual: Tensor) -> Tensor:
        """2 r."""
        return 2 * residual

    def curvature(self, residual: Tensor) -> Tensor:
        """2."""
        return torch.full_like(residual, 2.0)


@registered
@final
class SmoothedL1(AbstractPenalty):
    """rho(r) = sqrt(r^2 + eps^2) - eps: squared near zero, linear for outliers.

    Parameters
    ----------
    eps : float
        Size of residual at which the penalty turns from squared to linear, in normalised units.
    """

    def __init__(self, eps: float = 0.1):
        if eps <= 0:
            raise ConfigError(f"eps must be positive, got {eps}")
        self.eps = eps

    def value(self, residual: Tensor) -> Tensor:
        """sqrt(r^2 + eps^2) - eps."""
        return self._root(residual) - self.eps

    def derivative(self, residual: Tensor) -> Tensor:
        """r / sqrt(r^2 + eps^2)."""
        return residual / self._root(residual)

    def curvature(self, residual: Tensor) -> Tensor:
        """eps^2 / (r^2 + eps^2)^(3/2)."""
        return self.eps**2 / self._root(residual) ** 3

    def _root(self, residual: Tensor) -> Tensor:
        return torch.sqrt(residual.square() + self.eps**2)
