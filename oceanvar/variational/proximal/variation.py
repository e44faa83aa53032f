"""Total variation and total generalised variation, by their duals."""

from typing import final

import torch
from torch import Tensor

from oceanvar.errors import ConfigError
from oceanvar.maps.base import AbstractMap
from oceanvar.maps.checks import require
from oceanvar.maps.differences import Gradient
from oceanvar.registry import registered
from oceanvar.variational.acceleration import ahead_of
from oceanvar.variational.observations import Observations, Reads
from oceanvar.variational.operators.base import AbstractOperator, Operator, bound
from oceanvar.variational.power import largest_eigenvalue
from oceanvar.variational.proximal.base import AbstractProximal
from oceanvar.variational.shapes import ratio


@registered
@final
class TotalVariation(AbstractProximal):
    """Isotropic total variation: ``g(x) = weight sum_p |(A x)_p| / N``, A a gradient (Rudin, Osher and Fatemi, 1992).

    Fronts stay sharp. The proximal point is x - s A^T q, with the dual field q found by accelerated projected
    gradients (Beck and Teboulle, 2009, IEEE Trans. Image Process. 18, 2419-2434), which begin with the q of the last
    call.

    Parameters
    ----------
    weight : float
        Weight of the penalty.
    gradient : AbstractMap or AbstractOperator, optional
        A, linear, to ``(B, D V, T, *S)``. Default: differences along the two axes of space.
    n_inner : int
        Iterations for the dual in each call.
    """

    has_memory = True

    def __init__(self, weight: float, gradient: Operator | None = None, n_inner: int = 20):
        super().__init__()
        if weight <= 0 or n_inner < 1:
            raise ConfigError(f"weight must be positive and n_inner at least 1, got {weight} and {n_inner}")
        self.gradient = gradient or Gradient([1, 2])
        require(self.gradient, "the gradient of TotalVariation", AbstractMap, AbstractOperator)
        self.weight = weight
        self.n_inner = n_inner

    @property
    def reads(self) -> Reads:
        """What its gradient reads."""
        return getattr(self.gradient, "reads", Reads())

    def init(self, obs: Observations, state: Tensor) -> tuple[Tensor, Tensor]:
        """The dual field 0, and the largest eigenvalue of A A^T."""
        gradient = bound(self.gradient, obs, "state")
        return torch.zeros_like(gradient(state)), _largest(gradient, state)

    def prox(
        self, state: Tensor, step: Tensor, obs: Observations, dual: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Proximal point, and the dual field that makes it."""
        gradient = bound(self.gradient, obs, "state")
        field, largest = dual
        scale, n_variables = self.weight * step, state.shape[1]
        # The dual in units of the weight: its norm is at most 1 at every point.
        ahead, momentum, one = field, 1.0, torch.ones_like(step)
        for _ in range(self.n_inner):
            differences, divergence = gradient.linearize(state)
            slope = differences - gradient(scale * divergence(ahead))
            following = _at_most(ahead + slope * ratio(one, scale * largest), one, n_variables)
            ahead, momentum = ahead_of(following, field, momentum)
            field = following
        return state - scale * gradient.vjp(state, field), (field, largest)


@registered
@final
class TotalGeneralisedVariation(AbstractProximal):
    """Second-order total generalised variation (Bredies, Kunisch and Pock, 2010, SIAM J. Imaging Sci. 3, 492-526).

    ``g(x) = weight min_w sum_p (|(A x - w)_p| + bending |(E w)_p|) / N``, E the symmetrised gradient of the vector
    field w: slopes cost nothing, fronts and changes of slope do. The proximal point by the primal-dual algorithm of
    Chambolle and Pock (2011, J. Math. Imaging Vis. 40, 120-145), which begins with what the last call ended with.

    Parameters
    ----------
    weight : float
        Weight of the penalty.
    bending : float
        Length, in units of the distance that the gradient divides by, at which a change of slope costs as a front.
    gradient : AbstractMap or AbstractOperator, optional
        A, linear, to ``(B, D V, T, *S)``. Default: differences along the two axes of space.
    n_inner : int
        Iterations in each call.
    """

    has_memory = True

    def __init__(
        self, weight: float, bending: float = 2.0, gradient: Operator | None = None, n_inner: int = 50
    ):
        super().__init__()
        if min(weight, bending) <= 0 or n_inner < 1:
            raise ConfigError(
                f"weight and bending must be positive and n_inner at least 1, got {weight}, {bending} and {n_inner}"
            )
        self.gradient = gradient or Gradient([1, 2])
        require(self.gradient, "the gradient of TotalGeneralisedVariation", AbstractMap, AbstractOperator)
        self.weight = weight
        self.bending = bending
        self.n_inner = n_inner

    @property
    def reads(self) -> Reads:
        """What its gradient reads."""
        return getattr(self.gradient, "reads", Reads())

    def init(self, obs: Observations, state: Tensor) -> tuple[Tensor, ...]:
        """Slopes w and both dual fields 0, where differences exist, and a bound on the eigenvalues of the whole map."""
        gradient = bound(self.gradient, obs, "state")
        # Numbers of which no two are alike show where there is a difference, the same ones for every window.
        numbers = torch.rand(state.shape[1:], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        differences = gradient(numbers.to(state.device).expand(state.shape))
        slopes, exists = torch.zeros_like(differences, dtype=state.dtype), (differences != 0).to(state.dtype)
        largest = _largest(gradient, state)
        bound_of_all = torch.maximum(2 * largest, 2 + self.bending**2 * largest)
        return (
            slopes,
            slopes,
            torch.zeros_like(gradient(slopes)),
            exists,
            bound_of_all,
        )

    def prox(
        self, state: Tensor, step: Tensor, obs: Observations, dual: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Proximal point, with the slopes and dual fields that make it."""
        gradient, n_variables = bound(self.gradient, obs, "state"), state.shape[1]
        slopes, of_fronts, of_bends, exists, largest = dual
        scale = self.weight * step
        pace = 1 / largest.sqrt()
        x, x_ahead, slopes_ahead = state, state, slopes
        for _ in range(self.n_inner):
            fronts = exists * (gradient(x_ahead) - slopes_ahead)
            bends = self.bending * _symmetric(gradient(slopes_ahead), n_variables)
            of_fronts = _at_most(of_fronts + pace * fronts, scale, n_variables)
            of_bends = _at_most(of_bends + pace * bends, scale, n_variables)
            pull = exists * of_fronts
            moved = (x - pace * gradient.vjp(x, pull) + pace * state) / (1 + pace)
            bent = gradient.vjp(slopes, _symmetric(of_bends, n_variables))
            sloped = slopes + pace * (pull - self.bending * bent)
            x_ahead, slopes_ahead = 2 * moved - x, 2 * sloped - slopes
            x, slopes = moved, sloped
        return x, (slopes, of_fronts, of_bends, exists, largest)


def _symmetric(tensor: Tensor, n_variables: int) -> Tensor:
    """Symmetric part of a field of matrices ``(B, D D V, ...)``."""
    n_axes = round((tensor.shape[1] / n_variables) ** 0.5)
    matrices = tensor.unflatten(1, (n_axes, n_axes, n_variables))
    return ((matrices + matrices.transpose(1, 2)) / 2).flatten(1, 3)


def _at_most(field: Tensor, size: Tensor, n_variables: int) -> Tensor:
    """Vectors or matrices of a field ``(B, D V, ...)`` longer than a size, cut to it."""
    groups = field.unflatten(1, (-1, n_variables))
    norms = groups.norm(dim=1, keepdim=True).clamp(min=torch.finfo(groups.dtype).tiny)
    # A size of 0, of a window in which nothing pulls, leaves nothing.
    return (groups * (size.unsqueeze(1) / norms).clamp(max=1)).flatten(1, 2)


def _largest(gradient: AbstractMap, state: Tensor) -> Tensor:
    """Largest eigenvalue of A^T A of each window; 1 where there is no difference at all."""
    with torch.no_grad():
        value = largest_eigenvalue(lambda v: gradient.vjp(state, gradient.jvp(state, v)), state)
        return torch.where(value > 0, value, 1.0)
