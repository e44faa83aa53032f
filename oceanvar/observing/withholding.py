"""What is withheld of given observations, to learn from or to validate by, in the shape in which data are missing."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, reduce
from operator import or_
from typing import final

import dask
import numpy as np
import xarray as xr
from scipy.ndimage import label

from oceanvar.errors import ConfigError
from oceanvar.observing.samplers import AbstractRule, AbstractSampler, size_of, spread

N_SKIES = 64
"""Times, spread evenly over a dataset, by which land is told from clouds."""

MOST_UNSEEN = 0.01
"""Share of the cells at sea that chance may leave unseen at all of these times, if the others are to be land."""

N_TRIES = 4
"""Skies that are laid over a window before it is taken for one of tracks."""

LEAST_LEFT, MOST_LEFT = 0.25, 0.95
"""Share of what was observed that the sky of another time leaves, where it is a sky."""


@final
@dataclass(frozen=True, eq=False)
class CloudsOf(AbstractSampler):
    """All cells but those under real clouds: the gaps of other times and places of a dataset, mirrored at random.

    Gaps keep their shape and how they change with time. Cells where nothing was observed at any of `N_SKIES` times,
    spread evenly over the dataset, are land and hide nothing; in data too sparse to tell, nothing is land.

    Parameters
    ----------
    fields : Dataset or DataArray
        Gappy fields, NaN under clouds, in memory or lazy (pieces are read as they are drawn). A cell of a Dataset is
        hidden where no variable was observed. Dimensions that a window lacks (members) are further places to draw
        from; those that a window has besides, also ``"variable"``, share the clouds.
    time_dim : str
        Dimension that is not mirrored: clouds come as they came.

    Raises
    ------
    ConfigError
        If these are no fields.
    """

    fields: xr.Dataset | xr.DataArray
    time_dim: str = "time"

    def __post_init__(self) -> None:
        if not isinstance(self.fields, xr.Dataset | xr.DataArray) or not self._gappy.sizes:
            raise ConfigError(f"CloudsOf needs fields with NaN under clouds, got {self.fields!r}")

    def __repr__(self) -> str:
        return f"CloudsOf(fields of {dict(self._gappy.sizes)})"

    def mask(
        self, sizes: Mapping[str, int], coords: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> np.ndarray:
        """Observed cells of one window.

        Raises
        ------
        ConfigError
            If the dataset is smaller than the window.
        """
        place: dict[str, int | slice] = {}
        for dim, size in self._gappy.sizes.items():
            n = sizes.get(str(dim), 1)
            if n > size:
                raise ConfigError(
                    f"the dataset of CloudsOf has {size} points along {dim!r}, and a window {n}: give a larger one"
                )
            start = int(rng.integers(size - n + 1))
            place[str(dim)] = slice(start, start + n) if dim in sizes else start
        clear = self._seen(place) | self._land.isel(place, missing_dims="ignore")
        dims = tuple(str(dim) for dim in clear.dims)
        mirrored = [axis for axis, dim in enumerate(dims) if dim != self.time_dim and rng.random() < 0.5]
        return spread(np.flip(clear.values, tuple(mirrored)), dims, sizes)

    def _seen(self, place: Mapping[str, int | slice | np.ndarray]) -> xr.Variable:
        """True where any variable was observed, in a part of the dataset."""
        with dask.config.set(scheduler="synchronous"):
            piece = self._gappy.isel(place).load()
        return reduce(or_, (each.variable.notnull() for each in piece.data_vars.values()))

    @cached_property
    def _gappy(self) -> xr.Dataset:
        """Fields without coordinates."""
        fields = self.fields if isinstance(self.fields, xr.Dataset) else self.fields.to_dataset(name="fields")
        return fields.drop_vars(list(fields.coords))

    @cached_property
    def _land(self) -> xr.Variable:
        """True where none of some times has anything, and that is no chance."""
        n = self._gappy.sizes.get(self.time_dim, 0)
        some = np.unique(np.linspace(0, n - 1, min(n, N_SKIES)).round().astype(int))
        if not n:
            return xr.Variable((), np.array(False))
        shares = self._seen({self.time_dim: some}).mean(self.time_dim)
        sea = shares.values[shares.values > 0]
        if sea.size == 0 or (1 - sea.mean()) ** len(some) > MOST_UNSEEN:
            return xr.zeros_like(shares, dtype=bool)
        return shares == 0


@final
@dataclass(frozen=True)
class WholePasses(AbstractRule):
    """Whole pieces of what was observed at one time are withheld: passes of gridded tracks, swaths, single images.

    A piece is all cells of one time that touch each other, also by their corners: passes that cross on the same day
    are one.

    Parameters
    ----------
    share : float
        Probability that a piece is withheld, above 0 and below 1. Of several pieces in a window at least one is, and
        at least one is not.
    time_dim : str
        Dimension of the times.

    Raises
    ------
    ConfigError
        If the share is out of range.
    """

    share: float = 0.25
    time_dim: str = "time"

    def __post_init__(self) -> None:
        _check_share(self.share, self)

    def kept(
        self,
        observed: np.ndarray,
        sizes: Mapping[str, int],
        coords: Mapping[str, np.ndarray],
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Pieces that are not withheld; all variables share them."""
        size_of(sizes, self.time_dim)
        cells = observed.any(axis=0)
        touching = np.ones((3,) * cells.ndim, dtype=int)
        axis = list(sizes).index(self.time_dim) - 1
        np.moveaxis(touching, axis, 0)[[0, 2]] = 0
        pieces, n = label(cells, touching)
        left = rng.random(n) >= self.share
        if n > 1 and left.all() == left.any():  # all alike
            left[rng.integers(n)] ^= True
        return observed & np.concatenate(([False], left))[pieces]


@final
@dataclass(frozen=True, eq=False)
class AsMissing(AbstractRule):
    """Withhold in the shape in which data are missing, of images and of tracks.

    The gaps of another time and place are laid over the window (`CloudsOf`). Where these leave between a quarter and
    95 % of what was observed, they are the clouds of an image. Tracks and swaths of other times are elsewhere and leave
    next to nothing: there, and where another time hides nothing, whole passes are withheld (`WholePasses`).

    Parameters
    ----------
    clouds : CloudsOf
        Gaps of the same dataset.
    passes : WholePasses
        What is withheld otherwise.
    """

    clouds: CloudsOf
    passes: WholePasses = field(default_factory=WholePasses)

    @classmethod
    def of(cls, fields: xr.Dataset, time_dim: str) -> "AsMissing":
        """Rule for windows of gappy fields."""
        return cls(CloudsOf(fields, time_dim), WholePasses(time_dim=time_dim))

    def kept(
        self,
        observed: np.ndarray,
        sizes: Mapping[str, int],
        coords: Mapping[str, np.ndarray],
        rng: np.random.Generator,
    ) -> np.ndarray:
        """What is left to assimilate."""
        for _ in range(N_TRIES):
            left = self.clouds.kept(observed, sizes, coords, rng)
            if LEAST_LEFT * observed.sum() <= left.sum() <= MOST_LEFT * observed.sum():
                return left
        return self.passes.kept(observed, sizes, coords, rng)


@final
class Withhold(AbstractRule):
    """What `fit` withholds of given observations to learn from: that which some rules do not leave.

    Parameters
    ----------
    *rules : AbstractRule
        One or several, each applied to what the ones before it have left. Of a sampler all that is withheld which it
        would not have observed: ``Withhold(CloudsOf(ds), RandomHoles(1, 3, ("time",)))`` are clouds and three steps
        without anything.

    Raises
    ------
    ConfigError
        If there is none, or one is no rule.
    """

    def __init__(self, *rules: AbstractRule):
        wrong = [each for each in rules if not isinstance(each, AbstractRule)]
        if wrong or not rules:
            raise ConfigError(
                f"Withhold needs rules, as WholePasses() or RandomHoles(3, 8), got {wrong or 'none'}"
            )
        self.rules = rules

    def __repr__(self) -> str:
        return f"Withhold({', '.join(map(repr, self.rules))})"

    def kept(
        self,
        observed: np.ndarray,
        sizes: Mapping[str, int],
        coords: Mapping[str, np.ndarray],
        rng: np.random.Generator,
    ) -> np.ndarray:
        """What all rules leave."""
        for rule in self.rules:
            observed = rule.kept(observed, sizes, coords, rng)
        return observed


@final
@dataclass(frozen=True)
class WithheldBlocks:
    """Blocks of a dataset that training never sees, neither to assimilate nor to learn from: it is validated by them.

    Parameters
    ----------
    share : float
        Share of all blocks that is withheld, above 0 and below 1; at least one block is.
    size : mapping of str to int, optional
        Points of a block along dimensions of the state. Default: a third of a patch.
    seed : int
        Of the choice of blocks.

    Raises
    ------
    ConfigError
        If a number is out of range.
    """

    share: float = 0.1
    size: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        _check_share(self.share, self)
        if not all(isinstance(n, int) and n > 0 for n in self.size.values()):
            raise ConfigError(f"blocks have whole numbers of points above 0; got {self}")

    def over(self, sizes: Mapping[str, int], patch: Mapping[str, int]) -> "Blocks":
        """Choose the blocks of a dataset.

        Parameters
        ----------
        sizes : mapping of str to int
            Dimensions of the state in their order, and their points.
        patch : mapping of str to int
            Points of a patch.

        Raises
        ------
        ConfigError
            If the blocks have a size along other dimensions, or are so large that all would be withheld.
        """
        unknown = sorted(set(self.size) - set(sizes))
        if unknown:
            raise ConfigError(f"blocks have a size along {unknown}, and the state has {list(sizes)}")
        size = {dim: self.size.get(dim, max(1, patch[dim] // 3)) for dim in sizes}
        shape = [math.ceil(sizes[dim] / size[dim]) for dim in sizes]
        n = math.prod(shape)
        if n < 2:
            raise ConfigError(
                f"one block of {size} points is all there is of {dict(sizes)}: choose smaller ones"
            )
        chosen = np.zeros(n, dtype=bool)
        n_held = max(1, round(self.share * n))
        chosen[np.random.default_rng(self.seed).choice(n, min(n_held, n - 1), replace=False)] = True
        return Blocks(size, chosen.reshape(shape))


@dataclass(frozen=True, eq=False)
class Blocks:
    """Chosen blocks of a dataset.

    Parameters
    ----------
    size : mapping of str to int
        Points of a block along each dimension.
    chosen : ndarray of bool
        Which of the blocks, one axis for each dimension.
    """

    size: Mapping[str, int]
    chosen: np.ndarray

    def at(self, place: Mapping[str, np.ndarray]) -> np.ndarray:
        """Say which cells of a window lie in them: bool ``(*patch)``, for its indices along each dimension."""
        return self.chosen[np.ix_(*(place[dim] // n for dim, n in self.size.items()))]


def _check_share(share: float, rule: object) -> None:
    is_number = isinstance(share, int | float) and not isinstance(share, bool)
    if not is_number or not 0 < share < 1:
        raise ConfigError(f"a share of what is withheld lies above 0 and below 1; got {rule}")


def withholds(observations: object) -> bool:
    """Whether observations, or none, are of those that are withheld from: a sampler observes a truth."""
    return observations is None or (
        isinstance(observations, AbstractRule) and not isinstance(observations, AbstractSampler)
    )
