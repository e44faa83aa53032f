"""Variables that a model knows by their logarithm, and what an analysis of it says of the variables themselves."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import xarray as xr

A = TypeVar("A", np.ndarray, xr.DataArray)

_LN10 = float(np.log(10.0))


def variance_of_log10(variance: A, values: A) -> A:
    """Error variance of the decadic logarithm of positive values, from that of the values: for small errors."""
    return variance / (values * _LN10) ** 2


def from_log10(fields: Mapping[str, A], names: Iterable[str], error_std: Mapping[str, float]) -> dict[str, A]:
    """Fields of an analysis with those among `names` taken back from their decadic logarithm.

    Parameters
    ----------
    fields : mapping of str to ndarray or DataArray
        The logarithms; ``name_sample`` may be among them, and ``name_std``, their standard deviation, which stays as
        it is.
    names : iterable of str
        Which of them are logarithms.
    error_std : mapping of str to float
        Standard deviation of the error of the logarithms in general, where the fields do not tell it.

    Returns
    -------
    dict
        The fields. A Gaussian logarithm of mean m and standard deviation s has the median ``10**m``, which is given
        under the name, and the mean ``10**m exp((s ln 10)**2 / 2)`` (Aitchison and Brown, 1957), given as
        ``name_mean`` where s is known.
    """
    found = dict(fields)
    for name in names:
        for each in {name, f"{name}_sample"} & set(fields):
            found[each] = 10 ** fields[each]
        spread = fields.get(f"{name}_std", error_std.get(name))
        if spread is not None:
            found[f"{name}_mean"] = found[name] * np.exp((_LN10 * spread) ** 2 / 2)
    return found


def analysis_from_log10(
    analysis: xr.Dataset, names: Sequence[str], error_std: Mapping[str, float]
) -> xr.Dataset:
    """An analysis with those among `names`, and what is written beside them, taken back: see `from_log10`."""
    logs = {str(name): field for name, field in analysis.data_vars.items()}
    found = from_log10(logs, names, error_std)
    for name in names:
        for each in {name, f"{name}_sample"} & set(found):
            found[each] = _like(found[each], analysis[each])
        if f"{name}_std" in analysis:
            spread = {"long_name": f"standard deviation of the error of log10({name})", "units": "1"}
            found[f"{name}_std"] = analysis[f"{name}_std"].drop_attrs().assign_attrs(spread)
        if f"{name}_mean" in found:
            mean = _like(found[f"{name}_mean"], analysis[name])
            found[f"{name}_mean"] = mean.assign_attrs(long_name=f"mean of {name}, which itself is the median")
    return analysis.assign(found)


def _like(field: xr.DataArray, like: xr.DataArray) -> xr.DataArray:
    return field.astype(np.result_type(like.dtype, np.float32)).assign_attrs(like.attrs)
