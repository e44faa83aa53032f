"""Observations of a truth: twin experiments."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError, GridMismatchError, MissingVariableError
from oceanvar.observing.samplers import AbstractSampler

Truth = TypeVar("Truth", xr.Dataset, xr.DataArray)


def observe(
    truth: Truth,
    sampler: AbstractSampler,
    noise_std: float | Mapping[str, float] = 0.0,
    seed: int = 0,
    dims: Sequence[str] | None = None,
) -> Truth:
    """Observations of a truth: its values plus noise where the sampler looks, NaN everywhere else.

    Masks and noise are drawn from separate streams of the seed and never look at the truth. They are drawn
    in memory; a lazy truth stays lazy.

    Parameters
    ----------
    truth : Dataset or DataArray
        All variables have the same dimensions. A cell that is NaN here is NaN in the observations.
    sampler : AbstractSampler
        Which cells of a window are observed. It sees a dimension ``"variable"`` first, then `dims`.
    noise_std : float or mapping of str to float
        Standard deviation of the Gaussian noise in the units of the variable: one, or one for each.
    seed : int
        Seed of masks and noise.
    dims : sequence of str, optional
        Dimensions of one window, by default all. Each entry of the others gets a mask of its own.

    Returns
    -------
    Dataset or DataArray
        Same type, dimensions, coordinates and attributes as the truth.

    Raises
    ------
    MissingVariableError
        If a dimension is missing, or `noise_std` names other variables than the truth has.
    GridMismatchError
        If the variables differ in their dimensions, or the mask of the sampler has the wrong shape.
    ConfigError
        If a standard deviation is negative.

    Examples
    --------
    >>> import oceanvar
    >>> from oceanvar.observing import EveryNthStep
    >>> truth = oceanvar.lorenz63(n_steps=16)
    >>> obs = observe(truth, EveryNthStep(8), noise_std=1.0)
    >>> int(obs["x"].notnull().sum())
    2
    """
    if not isinstance(sampler, AbstractSampler):
        raise ConfigError(
            f"{sampler!r} is no sampler: give RandomFraction(0.1), say, of oceanvar.observing, or a class of your own "
            "derived from AbstractSampler"
        )
    if isinstance(truth, xr.DataArray):
        name = truth.name if isinstance(truth.name, str) else "values"
        ds = truth.to_dataset(name=name)
        return observe(ds, sampler, noise_std, seed, dims)[name].rename(truth.name)
    stds = _standard_deviations(truth, noise_std)
    mask_rng, noise_rng = np.random.default_rng(seed).spawn(2)
    masks = _masks(truth, sampler, dims, mask_rng)
    with xr.set_options(keep_attrs=True):
        return truth.assign({name: _seen(truth[name], masks[name], stds[name], noise_rng) for name in stds})


def _standard_deviations(truth: xr.Dataset, noise_std: float | Mapping[str, float]) -> dict[str, float]:
    names = [str(name) for name in truth.data_vars]
    stds = dict(noise_std) if isinstance(noise_std, Mapping) else dict.fromkeys(names, noise_std)
    if set(stds) != set(names) or not names:
        raise MissingVariableError(
            f"noise_std names {sorted(stds)}, the truth has {sorted(names)}; give one for each variable"
        )
    if not all(std >= 0 for std in stds.values()):
        raise ConfigError(f"noise_std must not be negative; got {noise_std}")
    return {name: stds[name] for name in names}


def _masks(
    truth: xr.Dataset, sampler: AbstractSampler, dims: Sequence[str] | None, rng: np.random.Generator
) -> dict[str, xr.DataArray]:
    """Mask of each variable; the sampler is asked once for each entry of the dimensions outside `dims`."""
    names = [str(name) for name in truth.data_vars]
    window_dims = _window_dims(truth, dims)
    outer_dims = [dim for dim in truth[names[0]].dims if dim not in window_dims]
    sizes = {"variable": len(names)} | {dim: truth.sizes[dim] for dim in window_dims}
    coords = {dim: truth[dim].values for dim in window_dims if dim in truth.coords}
    outer_shape = tuple(truth.sizes[dim] for dim in outer_dims)
    masks = np.zeros((len(names), *outer_shape, *list(sizes.values())[1:]), dtype=bool)
    for where in np.ndindex(outer_shape):
        mask = sampler.mask(sizes, coords, rng)
        if mask.shape != tuple(sizes.values()):
            raise GridMismatchError(
                f"{type(sampler).__name__} gave a mask of shape {mask.shape} for a window of sizes {sizes}"
            )
        masks[(slice(None), *where)] = mask
    return {name: xr.DataArray(masks[i], dims=(*outer_dims, *window_dims)) for i, name in enumerate(names)}


def _window_dims(truth: xr.Dataset, dims: Sequence[str] | None) -> tuple[str, ...]:
    found = {str(name): tuple(map(str, da.dims)) for name, da in truth.data_vars.items()}
    first = next(iter(found.values()))
    if any(set(other) != set(first) for other in found.values()):
        raise GridMismatchError(f"the variables differ in their dimensions: {found}; observe them one by one")
    if "variable" in first:
        raise GridMismatchError("the dimension 'variable' is for samplers; use .to_dataset('variable') first")
    if missing := set(dims or ()) - set(first):
        raise MissingVariableError(f"the truth lacks the dimensions {sorted(missing)}; it has {first}")
    return first if dims is None else tuple(dims)


def _seen(truth: xr.DataArray, mask: xr.DataArray, std: float, rng: np.random.Generator) -> xr.DataArray:
    dtype = truth.dtype if truth.dtype.kind == "f" else np.dtype(float)
    noise = xr.DataArray((std * rng.standard_normal(truth.shape)).astype(dtype), dims=truth.dims)
    return (truth + noise).where(mask)
