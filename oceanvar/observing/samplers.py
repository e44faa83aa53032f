"""Samplers: where and when a twin experiment observes."""

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from oceanvar.errors import ConfigError, MissingVariableError


class AbstractRule(abc.ABC):
    """A rule that looks at what was observed in a window, and leaves a part of it."""

    @abc.abstractmethod
    def kept(
        self,
        observed: np.ndarray,
        sizes: Mapping[str, int],
        coords: Mapping[str, np.ndarray],
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Part of the observed cells of one window that the rule leaves.

        Parameters
        ----------
        observed : ndarray of bool
            Shape ``tuple(sizes.values())``; True where something was observed.
        sizes, coords, rng
            As for `AbstractSampler.mask`.

        Returns
        -------
        ndarray of bool
            Of the same shape; True nowhere but where `observed` is.
        """


class AbstractSampler(AbstractRule):
    """A rule that decides which cells of a window are observed, whatever was observed there before."""

    def kept(
        self,
        observed: np.ndarray,
        sizes: Mapping[str, int],
        coords: Mapping[str, np.ndarray],
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Observed cells that the sampler would have observed too."""
        return observed & self.mask(sizes, coords, rng)

    @abc.abstractmethod
    def mask(
        self, sizes: Mapping[str, int], coords: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> np.ndarray:
        """Observed cells of one window.

        Parameters
        ----------
        sizes : mapping of str to int
            Dimensions of the window and their numbers of points; the first one is ``"variable"``.
        coords : mapping of str to ndarray
            One-dimensional coordinates of the window, for the dimensions that have one.
        rng : numpy.random.Generator
            Source of randomness of a random rule.

        Returns
        -------
        ndarray of bool
            Shape ``tuple(sizes.values())``; True where the cell is observed.

        Raises
        ------
        MissingVariableError
            If the rule needs a dimension or coordinate that the window lacks.
        """


@final
@dataclass(frozen=True)
class EveryNthStep(AbstractSampler):
    """All variables and places at every n-th step along one dimension.

    Parameters
    ----------
    n : int
        Distance between observed steps.
    start : int
        First step that may be observed.
    n_unobserved_edge : int
        Number of steps at each end of the window that are never observed.
    dim : str
        Dimension of the steps.

    Raises
    ------
    ConfigError
        If `n` is not positive, or another number is negative.
    """

    n: int
    start: int = 0
    n_unobserved_edge: int = 0
    dim: str = "time"

    def __post_init__(self) -> None:
        if self.n < 1 or self.start < 0 or self.n_unobserved_edge < 0:
            raise ConfigError(f"EveryNthStep needs n >= 1 and no negative numbers; got {self}")

    def mask(
        self, sizes: Mapping[str, int], coords: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> np.ndarray:
        """Observed cells of one window; the same every time."""
        steps = np.arange(size_of(sizes, self.dim))
        observed = (steps >= self.start) & ((steps - self.start) % self.n == 0)
        observed &= (steps >= self.n_unobserved_edge) & (steps < len(steps) - self.n_unobserved_edge)
        return spread(observed, (self.dim,), sizes)


@final
@dataclass(frozen=True)
class UpToHorizon(AbstractSampler):
    """What another sampler observes, but nothing in the last steps of a window: for models that are to forecast.

    Parameters
    ----------
    sampler : AbstractSampler
        What observes before.
    n : int
        Steps at the end that are never observed.
    dim : str
        Dimension of the steps.

    Raises
    ------
    ConfigError
        If `n` is not positive.
    """

    sampler: AbstractSampler
    n: int
    dim: str = "time"

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ConfigError(f"UpToHorizon needs n >= 1; got {self}")

    def mask(
        self, sizes: Mapping[str, int], coords: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> np.ndarray:
        """Observed cells of one window."""
        steps = np.arange(size_of(sizes, self.dim))
        return self.sampler.mask(sizes, coords, rng) & spread(steps < len(steps) - self.n, (self.dim,), sizes)


@final
@dataclass(frozen=True)
class RandomComponents(AbstractSampler):
    """A fixed number of components, drawn afresh at every observed time.

    Parameters
    ----------
    n_components : int
        Number of observed entries of `dim` at an observed time.
    dim : str
        Dimension of the components, also ``"variable"``. All dimensions but this and the time share the draw.
    every : int
        Distance between observed times.
    start : int
        First of them.
    time_dim : str
        Dimension of the times.

    Raises
    ------
    ConfigError
        If a number is out of range.
    """

    n_components: int
    dim: str = "site"
    every: int = 1
    start: int = 0
    time_dim: str = "time"

    def __post_init__(self) -> None:
        if min(self.n_components, self.start) < 0 or self.every < 1:
            raise ConfigError(f"RandomComponents needs every >= 1 and no negative numbers; got {self}")

    def mask(
        self, sizes: Mapping[str, int], coords: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> np.ndarray:
        """Observed cells of one window."""
        n_times, n_all = size_of(sizes, self.time_dim), size_of(sizes, self.dim)
        if self.n_components > n_all:
            raise ConfigError(
                f"cannot observe {self.n_components} components: dimension {self.dim!r} has {n_all} points"
            )
        observed = np.zeros((n_times, n_all), dtype=bool)
        # The order of random numbers is a random permutation: exactly n_components of its entries are small.
        times = slice(self.start, None, self.every)
        observed[times] = rng.random(observed[times].shape).argsort(axis=1) < self.n_components
        return spread(observed, (self.time_dim, self.dim), sizes)


@final
@dataclass(frozen=True)
class RandomFraction(AbstractSampler):
    """Every cell by itself with the same probability, so that about this fraction of them is observed.

    Parameters
    ----------
    fraction : float
        Probability, from 0 to 1.

    Raises
    ------
    ConfigError
        If the fraction is outside 0 to 1.
    """

    fraction: float

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise ConfigError(f"a fraction lies between 0 and 1; got {self.fraction}")

    def mask(
        self, sizes: Mapping[str, int], coords: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> np.ndarray:
        """Observed cells of one window."""
        return rng.random(tuple(sizes.values())) < self.fraction


@final
@dataclass(frozen=True)
class RandomHoles(AbstractSampler):
    """All cells but those in holes at random places: cubes that lie wholly inside the window and may overlap.

    Parameters
    ----------
    n_holes : int
        Number of holes, drawn afresh for every window. All other dimensions share them.
    size : int
        Cells of a hole along each of `dims`.
    dims : tuple of str
        Dimensions in which a hole is bounded.

    Raises
    ------
    ConfigError
        If a number is out of range.
    """

    n_holes: int
    size: int
    dims: tuple[str, ...] = ("latitude", "longitude")

    def __post_init__(self) -> None:
        if self.n_holes < 0 or self.size < 1 or not self.dims:
            raise ConfigError(f"RandomHoles needs n_holes >= 0, size >= 1 and a dimension; got {self}")

    def mask(
        self, sizes: Mapping[str, int], coords: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> np.ndarray:
        """Observed cells of one window."""
        shape = [size_of(sizes, dim) for dim in self.dims]
        if min(shape) < self.size:
            raise ConfigError(f"a hole of {self.size} cells does not fit the window of {dict(sizes)}")
        observed = np.ones(shape, dtype=bool)
        for corner in rng.integers(np.array(shape) - self.size + 1, size=(self.n_holes, len(shape))):
            observed[tuple(slice(start, start + self.size) for start in corner)] = False
        return spread(observed, self.dims, sizes)


@final
@dataclass(frozen=True)
class OneOf(AbstractSampler):
    """One of several rules, drawn anew for every window: a model then learns to serve them all.

    Parameters
    ----------
    samplers : sequence of AbstractRule
        The rules, each as likely as the others; all of them samplers, unless they withhold what was observed.

    Raises
    ------
    ConfigError
        If there is none.
    """

    samplers: Sequence[AbstractRule]

    def __post_init__(self) -> None:
        if not self.samplers:
            raise ConfigError("OneOf needs at least one sampler")

    def kept(
        self,
        observed: np.ndarray,
        sizes: Mapping[str, int],
        coords: Mapping[str, np.ndarray],
        rng: np.random.Generator,
    ) -> np.ndarray:
        """What a rule drawn at random leaves of the observed cells."""
        return self._drawn(rng).kept(observed, sizes, coords, rng)

    def mask(
        self, sizes: Mapping[str, int], coords: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> np.ndarray:
        """Observed cells of one window, by a rule drawn at random.

        Raises
        ------
        ConfigError
            If the rule can only withhold what others have observed.
        """
        drawn = self._drawn(rng)
        if not isinstance(drawn, AbstractSampler):
            raise ConfigError(
                f"{drawn} withholds what was observed and observes nothing by itself: use a sampler"
            )
        return drawn.mask(sizes, coords, rng)

    def _drawn(self, rng: np.random.Generator) -> AbstractRule:
        return self.samplers[int(rng.integers(len(self.samplers)))]


@final
@dataclass(frozen=True)
class Fixed(AbstractSampler):
    """One draw of a random rule, the same for every window (as the papers' test sets have it).

    Parameters
    ----------
    sampler : AbstractSampler
        The rule.
    seed : int
        Of the draw.
    """

    sampler: AbstractSampler
    seed: int = 0

    def mask(
        self, sizes: Mapping[str, int], coords: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> np.ndarray:
        """Observed cells of every window of these sizes."""
        del rng
        return self.sampler.mask(sizes, coords, np.random.default_rng(self.seed))


def size_of(sizes: Mapping[str, int], dim: str) -> int:
    """Points of a dimension that a sampler needs."""
    if dim not in sizes:
        raise MissingVariableError(
            f"the sampler needs the dimension {dim!r}, but the window has {', '.join(map(repr, sizes))}"
        )
    return sizes[dim]


def spread(observed: np.ndarray, dims: tuple[str, ...], sizes: Mapping[str, int]) -> np.ndarray:
    """Repeat a mask over some dimensions along all others, in the order of `sizes`."""
    order = sorted(range(len(dims)), key=lambda i: list(sizes).index(dims[i]))
    shape = [sizes[dim] if dim in dims else 1 for dim in sizes]
    return np.broadcast_to(observed.transpose(order).reshape(shape), tuple(sizes.values())).copy()
