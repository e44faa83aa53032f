"""Learn the few parameters of a cost by the minima that it has: bilevel learning, as exactly as each step needs.

The upper level is the mean square error of the minimum x(theta) of the cost, over windows with a truth or with withheld
observations. It is only known as well as the minimum is: |x - x(theta)| <= |grad U(x)| / mu for a cost whose curvature
is mu at least. A step of theta is taken only where it lowers the error for sure, and minima are found more exactly only
where that cannot be told: dynamic accuracy (Ehrhardt and Roberts, 2021, J. Math. Imaging Vis. 63, 254-275; for
gradients Salehi, Mukherjee, Roberts and Ehrhardt, 2025).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from oceanvar.errors import ConfigError
from oceanvar.maps.compositions import Identity
from oceanvar.training.losses import Sample, mean_square
from oceanvar.variational.assimilators import Assimilator
from oceanvar.variational.costs import VariationalCost
from oceanvar.variational.implicit import ImplicitMinimum
from oceanvar.variational.penalties import Squared
from oceanvar.variational.stopping import SmallGradient, solve_until
from oceanvar.variational.terms.backgrounds import BackgroundTerm
from oceanvar.variational.terms.maps import MapTerm

_MOST_HALVINGS = 8
"""Of the length of a step before the search is given up."""


class Step(NamedTuple):
    """One accepted step of the parameters."""

    loss: float
    """Mean square error of the minima."""
    bound: float
    """How far from the true one it is at most."""
    accuracy: float
    """Size of the gradient at which the minima were taken for found."""
    length: float
    """Of the step of the logarithms, or what else the parameters are."""


@dataclass
class Bilevel:
    """Gradient descent on parameters of a cost with a search that accepts sure decreases only.

    Parameters
    ----------
    assimilator : Assimilator
        Its cost is strongly convex, and its solver minimises: ``LBFGS(tolerance=0)``. Its iterations are the most for
        one minimum.
    samples : sequence of Sample
        Batches of windows with what is known of the truth.
    parameters : sequence of nn.Parameter
        Which parameters of the cost to learn.
    convexity : float, optional
        mu, a lower bound of the curvature of the cost, in its units. Default: that of the squared terms of the state
        itself (``MapTerm(Identity())``, ``BackgroundTerm()``).
    accuracy : float
        First size of the gradient, relative to that at the first guess.
    """

    assimilator: Assimilator
    samples: Sequence[Sample]
    parameters: Sequence[nn.Parameter]
    convexity: float | None = None
    accuracy: float = 0.1

    def __post_init__(self) -> None:
        if not self.assimilator.solver.minimises:
            raise ConfigError(
                f"{type(self.assimilator.solver).__name__} does not minimise the cost: use LBFGS(tolerance=0)"
            )
        if not self.parameters:
            raise ConfigError("there are no parameters to learn")
        guesses = [self.assimilator.first_guess(sample.obs) for sample in self.samples]
        self._states = [guess.detach() for guess in guesses]
        self._length = 1.0
        with torch.no_grad():
            sizes = [
                self.assimilator.cost.gradient(guess, sample.obs).flatten(1).norm(dim=1).max()
                for guess, sample in zip(guesses, self.samples, strict=True)
            ]
        largest = float(torch.stack(sizes).max())
        self._size = self.accuracy * largest
        self._smallest = torch.finfo(guesses[0].dtype).eps ** 0.75 * largest

    def run(self, n_steps: int) -> list[Step]:
        """Take at most so many steps; ends where no length of the step lowers the error for sure.

        Returns
        -------
        list of Step
            The error before, then after each accepted step.
        """
        self._states, loss, bound = self._minima(self._states)
        steps = [Step(loss, bound, self._size, 0.0)]
        for _ in range(n_steps):
            found = self._better(*self._direction(), steps[-1])
            if found is None:
                break
            steps.append(found)
        return steps

    def _better(self, direction: list[Tensor], slope: float, last: Step) -> Step | None:
        """First length that lowers the error for sure; the accuracy grows where it cannot be told."""
        start, length = [each.detach().clone() for each in self.parameters], self._length
        loss, bound, n_halved = last.loss, last.bound, 0
        while n_halved < _MOST_HALVINGS:
            self._move(start, direction, length)
            states, new, new_bound = self._minima(self._states)
            if new + new_bound < loss - bound:
                self._states, self._length = states, 2 * length
                return Step(new, new_bound, self._size, length)
            is_surely_worse = new - new_bound > loss + bound
            is_known = new_bound + bound <= 0.3 * length * slope or self._size <= self._smallest
            if not is_surely_worse and not is_known:
                # What the step should gain is less than what is known: look more closely, at both ends.
                self._size /= 4
                self._move(start, direction, 0.0)
                self._states, loss, bound = self._minima(self._states)
            else:
                length, n_halved = length / 2, n_halved + 1
        self._move(start, direction, 0.0)
        return None

    def _move(self, start: Sequence[Tensor], direction: Sequence[Tensor], length: float) -> None:
        with torch.no_grad():
            for parameter, begin, step in zip(self.parameters, start, direction, strict=True):
                parameter.copy_(begin + length * step)

    def _minima(self, states: Sequence[Tensor]) -> tuple[list[Tensor], float, float]:
        """Minima of all windows from states near them, their mean square error, and how far that may be off."""
        found, squares, slack, count = [], 0.0, 0.0, 0.0
        cost, n_steps = self.assimilator.cost, self.assimilator.n_steps
        curvature = strong_convexity(cost, states[0]) if self.convexity is None else self.convexity
        stop = SmallGradient(self._size)
        for sample, state in zip(self.samples, states, strict=True):
            with torch.no_grad():
                state = solve_until(stop, self.assimilator.solver, cost, sample.obs, state, n_steps).state
                gradient = cost.gradient(state, sample.obs)
            errors = ((state - sample.truth).square() * sample.known).flatten(1).sum(1)
            # | |x - t|^2 - |y - t|^2 | <= 2 |x - t| |x - y| + |x - y|^2, with weights at most the largest.
            heaviest = sample.known.flatten(1).amax(1)
            off = gradient.flatten(1).norm(dim=1) / curvature * heaviest.sqrt()
            slack += float((2 * errors.sqrt() * off + off.square()).sum())
            squares, count = squares + float(errors.sum()), count + float(sample.known.sum())
            found.append(state)
        return found, squares / count, slack / count

    def _direction(self) -> tuple[list[Tensor], float]:
        """Steepest descent of the parameters, of length one, and the slope along it."""
        implicit, total = ImplicitMinimum(tolerance=0.1 * min(1.0, self.accuracy)), 0.0
        gradients = [torch.zeros_like(each) for each in self.parameters]
        count = sum(float(sample.known.sum()) for sample in self.samples)
        for sample, state in zip(self.samples, self._states, strict=True):
            minimum = implicit.attached(self.assimilator.solver, self.assimilator.cost, sample.obs, state)
            loss = mean_square(minimum - sample.truth, sample.known) * (sample.known.sum() / count)
            parts = torch.autograd.grad(loss, list(self.parameters), allow_unused=True)
            gradients = [a if b is None else a + b for a, b in zip(gradients, parts, strict=True)]
        total = float(torch.stack([each.square().sum() for each in gradients]).sum().sqrt())
        scale = 1 / total if total > 0 else 0.0
        return [-scale * each for each in gradients], total


def strong_convexity(cost: VariationalCost, state: Tensor) -> float:
    """Lower bound of the curvature of a convex cost: that of its squared terms of the state itself.

    Raises
    ------
    ConfigError
        If it has none.
    """
    n, curvature = state[0].numel(), 0.0
    for term in cost.terms:
        if isinstance(term, MapTerm | BackgroundTerm) and isinstance(term.penalty, Squared):
            linear = term.operator if isinstance(term, MapTerm) else term.whitening
            if isinstance(linear, Identity) and term.precision is None:
                curvature += 2 * float(term.weight.detach()) / n
    if not curvature:
        raise ConfigError(
            "nothing in the cost says how convex it is at least: add MapTerm(Identity(), weight), or give convexity="
        )
    return curvature


def in_double(sample: Sample) -> Sample:
    """A batch of windows in double precision."""
    return Sample(sample.truth.double(), sample.known.double(), sample.obs.to(torch.float64))
