"""What publishers put beside a variable, used as they say: biases, errors, quality, times of pixels, logarithms."""

import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError
from oceanvar.labels.coordinates import TIME
from oceanvar.labels.units import conversion, of_logarithm, squared

SST = ("sea_surface_temperature", "analysed_sst")
CHLOROPHYLL = ("CHL", "chlor_a")

MIN_QUALITY = 4
"""Of GHRSST, from 0 (no data) to 5 (best)."""

LN10 = float(np.log(10))


def as_published(ds: xr.Dataset, variable: str, quality: int, error: str | float | None) -> xr.Dataset:
    """Values as observations, with ``variance``, their error variance, where it is known.

    GHRSST: pixels below a quality level are missing, ``sses_bias`` is subtracted, ``sses_standard_deviation`` or
    ``analysis_error`` squared, and ``sst_dtime`` added to the time. Chlorophyll: its decimal logarithm, whose errors
    are normal.

    Parameters
    ----------
    ds : Dataset
        Of a file.
    variable : str
        Name of the values.
    quality : int
        Lowest ``quality_level`` of GHRSST that counts.
    error : str or float, optional
        Standard deviation of the error, or the name of the variable that holds it, instead of the published one. That
        of a number has no units yet: those of the result, see `with_units_of_variance`.

    Raises
    ------
    UnitsMismatchError
        If its units are no units of the values.
    """
    if variable in SST and ("quality_level" in ds or "sses_bias" in ds or "analysis_error" in ds):
        ds = _temperature(ds, variable, quality)
    elif is_chlorophyll(ds[variable]):
        ds = _logarithm(ds, variable)
    if isinstance(error, str):
        ds = ds.assign(variance=(ds[error] * _factor(ds, error, variable)) ** 2)
    elif error is not None:
        return ds.assign(variance=xr.full_like(ds[variable], error**2, np.float64).drop_attrs())
    return with_units_of_variance(ds, variable) if "variance" in ds else ds


def check_error(error: str | float | None) -> None:
    """Refuse a standard deviation that is none.

    Raises
    ------
    ConfigError
        If a number is not positive and finite.
    """
    if error is not None and not isinstance(error, str) and not 0 < error < np.inf:
        raise ConfigError(
            f"error is a standard deviation above 0, or the name of a variable, and not {error!r}"
        )


def companions(variable: str) -> tuple[str, ...]:
    """Names of variables that publishers put beside one and `as_published` uses."""
    beside = ("quality_level", "sses_bias", "sses_standard_deviation", "analysis_error", "sst_dtime")
    return (*beside, *(f"{variable}_{each}" for each in ("log10_rmsd", "log10_bias", "uncertainty")))


def is_chlorophyll(field: xr.DataArray) -> bool:
    """Whether a variable is a concentration of chlorophyll."""
    is_log = of_logarithm(field.attrs.get("units")) is not None
    named = "chlorophyll" in str(field.attrs.get("standard_name", "")) and not is_log
    return named or field.name in CHLOROPHYLL


def _temperature(ds: xr.Dataset, variable: str, quality: int) -> xr.Dataset:
    field, attrs = ds[variable], ds[variable].attrs
    if "quality_level" in ds:
        field = field.where(ds["quality_level"] >= quality)
    if "sses_bias" in ds:
        field = field - ds["sses_bias"]
    spread = next((name for name in ("sses_standard_deviation", "analysis_error") if name in ds), None)
    ds = ds.assign({variable: field.assign_attrs(attrs)})
    if spread is not None:
        ds = ds.assign(variance=ds[spread] ** 2)
    if "sst_dtime" in ds:
        offset = ds["sst_dtime"]
        seconds = offset * conversion(str(offset.attrs.get("units", "s")), "s", "sst_dtime").factor
        nanoseconds = (seconds.fillna(0) * 1e9).round().astype("timedelta64[ns]")
        # NaT where the offset is missing: the pixel has no value either.
        pixel_time = (ds[TIME] + nanoseconds).where(seconds.notnull())
        ds = ds.assign(pixel_time=pixel_time.assign_attrs(standard_name="time"))
    return ds


def _logarithm(ds: xr.Dataset, variable: str) -> xr.Dataset:
    field = ds[variable]
    units = field.attrs.get("units", "1")
    value, variance = xr.ufuncs.log10(field.where(field > 0)), None
    if f"{variable}_log10_rmsd" in ds:
        bias = ds[f"{variable}_log10_bias"] if f"{variable}_log10_bias" in ds else xr.zeros_like(value)
        value, variance = value - bias, ds[f"{variable}_log10_rmsd"] ** 2 - bias**2
    elif f"{variable}_uncertainty" in ds:
        # In per cent of the value, as Copernicus Marine gives it.
        variance = xr.ufuncs.log1p((ds[f"{variable}_uncertainty"] / 100) ** 2) / LN10**2
    attrs = {
        "long_name": f"decimal logarithm of {field.attrs.get('long_name', variable)}",
        "units": f"lg(re 1 {units})",
        "comment": f"10 ** value is the median in {units}; 10 ** (value + {LN10 / 2:.6f} * variance) the mean",
    }
    ds = ds.assign({variable: value.assign_attrs(attrs)})
    return ds if variance is None else ds.assign(variance=variance.where(variance > 0))


def with_units_of_variance(ds: xr.Dataset, variable: str) -> xr.Dataset:
    """The error variance with attributes of its own: the square of the units of the values, none of a logarithm."""
    units = ds[variable].attrs.get("units")
    is_log = of_logarithm(units) is not None
    attrs = {"long_name": "error variance of the decimal logarithm" if is_log else "error variance"}
    if isinstance(units, str) and not is_log:
        attrs["units"] = squared(units)
    return ds.assign(variance=ds["variance"].drop_attrs().assign_attrs(attrs))


def _factor(ds: xr.Dataset, error: str, variable: str) -> float:
    """From the units of an error to those of the values."""
    given, wanted = (ds[name].attrs.get("units") for name in (error, variable))
    if not (isinstance(given, str) and isinstance(wanted, str)) or of_logarithm(wanted):
        return 1.0
    return conversion(given, wanted, f"the error {error!r}").factor
