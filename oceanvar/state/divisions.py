"""How the observations of a window divide: what is assimilated, and what is learned from or validated by."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError, PatchError
from oceanvar.observing.samplers import AbstractRule, AbstractSampler
from oceanvar.observing.withholding import Blocks, WithheldBlocks
from oceanvar.state.spaces import StateSpace

Pair = tuple[xr.Dataset, xr.Dataset | AbstractSampler]


@dataclass(frozen=True)
class Division:
    """What of a window is learned from, and what of it is assimilated.

    Parameters
    ----------
    rule : AbstractRule, optional
        The truth is what was observed: what this rule leaves of it is assimilated, the rest is learned from, and
        nothing is both. Default: the truth is another one than the observations, and is learned from wherever it is.
    blocks : Blocks, optional
        Of the truth, for validation: nothing observed in them is ever assimilated or learned from.
    validates : bool
        Whether the errors in the blocks, instead of those outside, are asked for. All that was observed outside is
        assimilated then.
    """

    rule: AbstractRule | None = None
    blocks: Blocks | None = None
    validates: bool = False

    def divided(
        self,
        truth: np.ndarray,
        inputs: np.ndarray,
        space: StateSpace,
        place: Mapping[str, np.ndarray],
        coords: Mapping[str, np.ndarray],
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Divide a window.

        Parameters
        ----------
        truth : ndarray
            ``(V, *patch)``, NaN where unknown.
        inputs : ndarray
            ``(C, *patch)``, the inputs of `space`, NaN where unknown.
        space : StateSpace
            What they are.
        place : mapping of str to ndarray
            Indices of the window along each dimension.
        coords, rng
            As for `oceanvar.observing.AbstractRule`.

        Returns
        -------
        (ndarray, ndarray)
            The same, new arrays with NaN where nothing is learned from, or assimilated.
        """
        nothing = np.float32(np.nan)
        if self.blocks is not None:
            held = self.blocks.at(place)
            observing = [name not in space.covariates for name in space.inputs]
            inputs = np.where(np.multiply.outer(observing, held), nothing, inputs)
            truth = np.where(held == self.validates, truth, nothing)
            if self.validates:
                return truth, inputs
        if self.rule is not None:
            observed = np.isfinite(truth)
            sizes = dict(zip(("variable", *space.dims), truth.shape, strict=True))
            kept = observed & self.rule.kept(observed, sizes, coords, rng)
            own = np.where(kept, truth, nothing)
            truth = np.where(kept, nothing, truth)
            inputs = np.concatenate((own, inputs[space.n_variables :]))
        return truth, inputs


def split(
    truth: xr.Dataset,
    observations: xr.Dataset | AbstractSampler,
    space: StateSpace,
    validation: Any,
    rule: AbstractRule | None = None,
) -> tuple[tuple[Pair, Pair], tuple[Division, Division]]:
    """Divide data into those to learn from and those to validate by.

    Parameters
    ----------
    truth : Dataset
        True fields, or the observations themselves where there is a rule.
    observations : Dataset or AbstractSampler
        What is seen of them.
    space : StateSpace
        What a window is.
    validation : float, WithheldBlocks, Dataset or (Dataset, Dataset)
        As of `oceanvar.fitting.fit`.
    rule : AbstractRule, optional
        What of observations is withheld in training.

    Returns
    -------
    ((fields, fields), (Division, Division))
        Of training and of validation: truth and observations, and how their windows divide.

    Raises
    ------
    ConfigError
        If observations for validation are missing, or blocks cannot be cut.
    PatchError
        If there are too few times.
    """
    both, plain = (truth, observations), Division(rule)
    if isinstance(validation, tuple):
        return (both, validation), (plain, Division())
    if isinstance(validation, xr.Dataset):
        if rule is not None:
            return (both, (validation, validation)), (plain, plain)
        if isinstance(observations, xr.Dataset):
            raise ConfigError("give the validation observations too: validation=(truth, observations)")
        return (both, (validation, observations)), (plain, plain)
    space.check(truth, "the truth")
    if isinstance(validation, WithheldBlocks):
        if space.tracked:
            raise ConfigError(
                f"samples of {list(space.tracked)} are not cut by blocks: give validation=0.1, a share of the times"
            )
        blocks = validation.over({dim: truth.sizes[dim] for dim in space.dims}, space.patch)
        return (both, both), (Division(rule, blocks), Division(rule, blocks, validates=True))
    return _split_in_time(truth, observations, space, validation), (plain, plain)


def _split_in_time(
    truth: xr.Dataset, observations: xr.Dataset | AbstractSampler, space: StateSpace, share: float
) -> tuple[Pair, Pair]:
    time, n_times = space.dims[0], truth.sizes[space.dims[0]]
    n_withheld = max(round(share * n_times), space.patch[time])
    if n_times - n_withheld < space.patch[time]:
        raise PatchError(
            f"{n_times} steps of {time!r} cannot be divided into training and validation of at least "
            f"{space.patch[time]} steps (one patch) each: give validation=other_truth"
        )

    def part(ds: Any, steps: slice) -> Any:
        return ds.isel({time: steps}) if isinstance(ds, xr.Dataset) else ds

    first, last = slice(0, n_times - n_withheld), slice(n_times - n_withheld, None)
    return (part(truth, first), part(observations, first)), (part(truth, last), part(observations, last))
