"""Statistics and checks of fields that classical mappings start from."""

import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError


def observed_mean(obs: xr.DataArray) -> xr.DataArray:
    """Mean of the observed values over all dimensions, as an array without dimensions (lazy if `obs` is).

    Raises
    ------
    ConfigError
        When nothing is observed: at once for an eager array, when computed for a lazy one.
    """
    return xr.apply_ufunc(
        _ratio,
        obs.sum(dtype=np.float64),
        obs.count(),
        kwargs={"name": obs.name},
        dask="parallelized",
        output_dtypes=[np.float64],
    )


def positive(field: xr.DataArray, name: str) -> xr.DataArray:
    """Same field, NaN allowed (land).

    Raises
    ------
    ConfigError
        When a number is not positive and finite: at once for an eager field, when computed for a lazy one.
    """
    return xr.apply_ufunc(
        _positive, field, kwargs={"name": name}, dask="parallelized", output_dtypes=[np.float64]
    )


def error_attrs(obs: xr.DataArray) -> dict[str, str]:
    """Attributes of the standard deviation of the analysis error of a variable."""
    attrs = {
        "long_name": f"standard deviation of the analysis error of {obs.attrs.get('long_name', obs.name)}"
    }
    if "standard_name" in obs.attrs:
        attrs["standard_name"] = f"{obs.attrs['standard_name']} standard_error"
    return attrs | ({"units": obs.attrs["units"]} if "units" in obs.attrs else {})


def _positive(values: np.ndarray, name: str) -> np.ndarray:
    wrong = (values <= 0) | np.isinf(values)
    if np.any(wrong):
        raise ConfigError(
            f"{name} must be positive and finite, but {np.count_nonzero(wrong)} of {np.size(values)} are not, "
            f"{np.asarray(values)[wrong].flat[0]:.3g}, say: give it yourself"
        )
    return values


def _ratio(total: np.ndarray, count: np.ndarray, name: object) -> np.ndarray:
    if np.any(count == 0):
        raise ConfigError(
            f"variable {name!r} has no observation to take a mean from: give the value yourself"
        )
    return np.asarray(total / count)
