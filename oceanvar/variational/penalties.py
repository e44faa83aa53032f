"""Penalties rho on residuals, or on groups of them."""

import abc
from typing import cast, final

import torch
from torch import Tensor, nn

from oceanvar.errors import ConfigError
from oceanvar.registry import registered


class AbstractPenalty(nn.Module, abc.ABC):
    """A function rho of residuals, with what first- and second-order solvers need of it."""

    is_grouped = False
    """Whether rho acts on several residuals together, which must then have one weight."""

    @abc.abstractmethod
    def value(self, residual: Tensor) -> Tensor:
        """rho(r); of a group in equal parts at each of its members."""

    @abc.abstractmethod
    def derivative(self, residual: Tensor) -> Tensor:
        """rho'(r)."""

    @abc.abstractmethod
    def curvature(self, residual: Tensor) -> Tensor:
        """Weight of a residual in the Gauss-Newton matrix, at least 0.

        rho''(r) where that is never negative and seldom 0, else rho'(r) / r: the matrix of the squared penalty that
        touches rho at r and lies above it (Geman and Reynolds, 1992).
        """


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


class AbstractScaledPenalty(AbstractPenalty):
    """A penalty that turns from squared to something slower at a size of the residual.

    Parameters
    ----------
    eps : float
        That size, in normalised units.
    trainable : bool
        Learn it with the model.
    """

    def __init__(self, eps: float = 0.1, trainable: bool = False):
        super().__init__()
        if eps <= 0:
            raise ConfigError(f"eps must be positive, got {eps}")
        self.trainable = trainable
        if trainable:
            self.log_eps = nn.Parameter(torch.tensor(float(eps)).log())
        else:
            self._eps = eps

    @property
    def eps(self) -> Tensor | float:
        """Size of residual at which the penalty turns, always positive."""
        return self.log_eps.exp() if self.trainable else self._eps


@registered
@final
class SmoothedL1(AbstractScaledPenalty):
    """rho(r) = sqrt(r^2 + eps^2) - eps: squared near zero, linear for outliers (Charbonnier et al., 1997).

    Parameters
    ----------
    eps : float
        Size of residual at which it turns, in normalised units.
    trainable : bool
        Learn it with the model.
    """

    def __init__(self, eps: float = 0.1, trainable: bool = False):
        super().__init__(eps, trainable)

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


@registered
@final
class Huber(AbstractScaledPenalty):
    """``rho(r) = r^2`` up to eps, then ``eps (2 |r| - eps)`` (Huber, 1964).

    Parameters
    ----------
    eps : float
        Size of residual at which it turns, in normalised units.
    trainable : bool
        Learn it with the model.
    """

    def __init__(self, eps: float = 0.1, trainable: bool = False):
        super().__init__(eps, trainable)

    def value(self, residual: Tensor) -> Tensor:
        """``r^2`` or ``eps (2 |r| - eps)``."""
        size = residual.abs()
        return torch.where(size <= self.eps, size.square(), self.eps * (2 * size - self.eps))

    def derivative(self, residual: Tensor) -> Tensor:
        """2 r, at most 2 eps in size."""
        return residual * self.curvature(residual)

    def curvature(self, residual: Tensor) -> Tensor:
        """``rho'(r) / r = 2 min(1, eps / |r|)``."""
        size = residual.abs()
        outside = self.eps / torch.where(size > self.eps, size, 1.0)
        return 2 * torch.where(size > self.eps, outside, torch.ones_like(size))


@registered
@final
class LogLorentz(AbstractScaledPenalty):
    """rho(r) = eps^2 log(1 + r^2 / eps^2): outliers of a Cauchy distribution. Not convex.

    Parameters
    ----------
    eps : float
        Size of residual at which it turns, in normalised units.
    trainable : bool
        Learn it with the model.
    """

    def __init__(self, eps: float = 0.1, trainable: bool = False):
        super().__init__(eps, trainable)

    def value(self, residual: Tensor) -> Tensor:
        """eps^2 log(1 + r^2 / eps^2)."""
        return self.eps**2 * torch.log1p((residual / self.eps).square())

    def derivative(self, residual: Tensor) -> Tensor:
        """2 r / (1 + r^2 / eps^2)."""
        return residual * self.curvature(residual)

    def curvature(self, residual: Tensor) -> Tensor:
        """rho'(r) / r = 2 / (1 + r^2 / eps^2)."""
        return 2 / (1 + (residual / self.eps).square())


@registered
@final
class GemanMcClure(AbstractScaledPenalty):
    """rho(r) = r^2 / (1 + r^2 / eps^2), never above eps^2: outliers count no more. Not convex.

    Geman and McClure (1985).

    Parameters
    ----------
    eps : float
        Size of residual at which it turns, in normalised units.
    trainable : bool
        Learn it with the model.
    """

    def __init__(self, eps: float = 0.1, trainable: bool = False):
        super().__init__(eps, trainable)

    def value(self, residual: Tensor) -> Tensor:
        """r^2 / (1 + r^2 / eps^2)."""
        return residual.square() / (1 + (residual / self.eps).square())

    def derivative(self, residual: Tensor) -> Tensor:
        """2 r / (1 + r^2 / eps^2)^2."""
        return residual * self.curvature(residual)

    def curvature(self, residual: Tensor) -> Tensor:
        """rho'(r) / r = 2 / (1 + r^2 / eps^2)^2."""
        return 2 / (1 + (residual / self.eps).square()).square()


@registered
@final
class Grouped(AbstractPenalty):
    """rho of the Euclidean norm of a group of channels: isotropic total variation, speeds of vectors.

    Parameters
    ----------
    penalty : AbstractPenalty
        rho, of the norm.
    n_groups : int
        Channels (axis 1 of the residual) are cut into so many groups of equal length, member by member: of four
        channels in two groups, 0 and 2 are one group, 1 and 3 the other, as `oceanvar.maps.Gradient` orders them.
    """

    is_grouped = True

    def __init__(self, penalty: AbstractPenalty, n_groups: int = 1):
        super().__init__()
        if n_groups < 1 or penalty.is_grouped:
            raise ConfigError(
                f"a grouped penalty takes one on single residuals and n_groups of at least 1, got "
                f"{type(penalty).__name__} and {n_groups}"
            )
        self.penalty = penalty
        self.n_groups = n_groups

    def value(self, residual: Tensor) -> Tensor:
        """``rho(|r|)``, shared out over the group."""
        groups = self._groups(residual)
        return (self.penalty.value(_norm(groups)) / groups.shape[1]).expand_as(groups).reshape(residual.shape)

    def derivative(self, residual: Tensor) -> Tensor:
        """``rho'(|r|) r / |r|``."""
        return residual * self.curvature(residual)

    def curvature(self, residual: Tensor) -> Tensor:
        """``rho'(|r|) / |r|``, for each member."""
        groups = self._groups(residual)
        norm = _norm(groups)
        # The limit at 0 is rho''(0), which is the curvature there for every penalty.
        slope = self.penalty.derivative(norm) / torch.where(norm > 0, norm, 1.0)
        weight = torch.where(norm > 0, slope, self.penalty.curvature(norm))
        return weight.expand_as(groups).reshape(residual.shape)

    def _groups(self, residual: Tensor) -> Tensor:
        """``(B, members, n_groups, ...)``."""
        if residual.shape[1] % self.n_groups:
            raise ConfigError(
                f"{residual.shape[1]} channels of a residual do not make {self.n_groups} groups of equal length"
            )
        return residual.unflatten(1, (-1, self.n_groups))


def _norm(groups: Tensor) -> Tensor:
    """Euclidean norm along axis 1, kept, with a gradient of 0 where it is 0."""
    squares = groups.square().sum(1, keepdim=True)
    return torch.where(squares > 0, torch.where(squares > 0, squares, 1.0).sqrt(), 0.0)


@registered
@final
class PerChannel(AbstractPenalty):
    """A penalty of its own for each channel of a residual: one rho for each filter of a Fields-of-Experts prior.

    Parameters
    ----------
    *penalties : AbstractPenalty
        As many as the residual has channels (axis 1).
    """

    def __init__(self, *penalties: AbstractPenalty):
        super().__init__()
        if not penalties or any(each.is_grouped for each in penalties):
            raise ConfigError("PerChannel takes penalties on single residuals, one for each channel")
        self.penalties = cast("list[AbstractPenalty]", nn.ModuleList(penalties))

    def value(self, residual: Tensor) -> Tensor:
        """rho_c(r_c)."""
        return self._each("value", residual)

    def derivative(self, residual: Tensor) -> Tensor:
        """rho_c'(r_c)."""
        return self._each("derivative", residual)

    def curvature(self, residual: Tensor) -> Tensor:
        """Curvature of rho_c."""
        return self._each("curvature", residual)

    def _each(self, name: str, residual: Tensor) -> Tensor:
        if residual.shape[1] != len(self.penalties):
            raise ConfigError(
                f"{len(self.penalties)} penalties for {residual.shape[1]} channels of a residual"
            )
        channels = residual.split(1, dim=1)
        pairs = zip(self.penalties, channels, strict=True)
        return torch.cat([getattr(penalty, name)(channel) for penalty, channel in pairs], dim=1)
