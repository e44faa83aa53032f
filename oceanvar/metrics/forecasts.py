"""Scores of forecasts by lead time, against what comes later."""

from collections.abc import Hashable

import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError, MissingVariableError, ScoreError
from oceanvar.labels.alignment import on_grid
from oceanvar.metrics.errors import quotient, require_same_units

Fields = xr.Dataset | xr.DataArray

TIME, LEAD = "time", "lead"

_SAME_TIME = 1e-3
"""Part of a step by which two times that are numbers may differ: they are sums of rounded ones."""


def score_forecast(
    forecast: Fields, later: Fields, *, climate: Fields | None = None, time: str = TIME, lead: str = LEAD
) -> xr.Dataset:
    """Scores of forecasts by lead time against a truth or observations that come later, beside persistence.

    A forecast of lead l from time t is compared with what there is at t + l, exactly; persistence, the field of
    lead 0, on the same cells. Cells that are NaN in any of the three are left out.

    Parameters
    ----------
    forecast : Dataset or DataArray
        Fields over the time from which they start, the lead, and space, as of `oceanvar.cycle`. Negative leads, of a
        smoother, are scored like others.
    later : Dataset or DataArray
        Truth, or observations with NaN where nothing was seen, over time and the same space.
    climate : Dataset or DataArray, optional
        Mean state from which anomalies count. Default: the mean of `later` in time, at each point.
    time, lead : str
        Names of these dimensions.

    Returns
    -------
    Dataset
        Over ``variable`` and lead: ``rmse``, ``anomaly_correlation``, ``rmse_persistence``,
        ``anomaly_correlation_persistence`` and ``n_points``, the number of cells; NaN where there are none.

    Raises
    ------
    MissingVariableError
        If a variable or a dimension is missing.
    ScoreError
        If there is no field of lead 0, or no cell to score at any lead.
    GridMismatchError, UnitsMismatchError
        If grids or units differ.
    ConfigError
        If times or leads are no coordinates, or cannot be added.

    Notes
    -----
    The anomaly correlation is the uncentred one, sum(f' o') / sqrt(sum f'^2 sum o'^2) over all cells and times, with
    anomalies f' and o' from one climate (Wilks, 2019, Statistical Methods in the Atmospheric Sciences, eq. 9.96).
    """
    label = next(
        (each.name for each in (forecast, later) if isinstance(each, xr.DataArray) and each.name), "field"
    )
    given, known, mean = (_as_dataset(each, label) for each in (forecast, later, climate))
    assert given is not None
    assert known is not None
    names = [name for name in given.data_vars if lead in given[name].dims]
    if not names:
        raise MissingVariableError(
            f"no variable of the forecast has the dimension {lead!r}: it has {list(given.sizes)}"
        )
    rows = []
    for name in names:
        _check(given[name], known, name, time, lead)
        require_same_units(given[name], known[name])
        about = known[name].mean(time) if mean is None else _variable(mean, name, "climate")
        rows.append(_scores(given[name], known[name], about, time, lead))
    table = xr.concat(rows, "variable", coords="minimal", compat="override", join="exact")
    if not table["n_points"].any():
        raise ScoreError(f"0 cells to score: no time of {names} plus a lead has a value in what comes later")
    units = ", ".join(dict.fromkeys(str(given[name].attrs.get("units", "")) for name in names))
    for key, (long_name, own) in _DEFINITIONS.items():
        table[key].attrs = {"long_name": long_name, "units": units if own is None else own}
    return table.assign_coords(variable=[str(name) for name in names])


_DEFINITIONS: dict[str, tuple[str, str | None]] = {
    "rmse": ("root mean square error of the forecast", None),
    "anomaly_correlation": ("uncentred anomaly correlation of the forecast", "1"),
    "rmse_persistence": ("root mean square error of persistence", None),
    "anomaly_correlation_persistence": ("uncentred anomaly correlation of persistence", "1"),
    "n_points": ("number of scored cells", "1"),
}


def _as_dataset(data: Fields | None, label: Hashable) -> xr.Dataset | None:
    return data.rename(label).to_dataset() if isinstance(data, xr.DataArray) else data


def _variable(data: xr.Dataset, name: Hashable, owner: str) -> xr.DataArray:
    if name not in data.data_vars:
        raise MissingVariableError(
            f"variable {name!r} is not in the {owner} (variables: {list(data.data_vars)})"
        )
    return data[name]


def _check(forecast: xr.DataArray, known: xr.Dataset, name: Hashable, time: str, lead: str) -> None:
    later = _variable(known, name, "data that come later")
    for field, dims, what in ((forecast, (time, lead), "the forecast"), (later, (time,), "what comes later")):
        for dim in dims:
            if dim not in field.dims:
                raise MissingVariableError(
                    f"{name!r} of {what} has no dimension {dim!r}: it has {list(field.dims)}"
                )
            if dim not in field.coords:
                raise ConfigError(
                    f"{dim!r} of {what} has no coordinate: leads and times are compared by their labels"
                )
    if not (forecast[lead] == forecast[lead].dtype.type(0)).any():
        raise ScoreError(
            f"{name!r} has no field of lead 0, which is what persists: its leads are {forecast[lead].values}"
        )
    try:
        forecast[time].values[:1] + forecast[lead].values[:1]
    except TypeError as error:
        raise ConfigError(
            f"a {time} of type {forecast[time].dtype} and a {lead} of type {forecast[lead].dtype} cannot be added"
        ) from error


def _scores(
    forecast: xr.DataArray, later: xr.DataArray, climate: xr.DataArray, time: str, lead: str
) -> xr.Dataset:
    """Scores of one variable by lead."""
    persistent = forecast.isel({lead: int(np.flatnonzero(forecast[lead] == forecast[lead].dtype.type(0))[0])})
    found = []
    for i in range(forecast.sizes[lead]):
        field = forecast.isel({lead: i}).reset_coords(drop=True)
        truth = _at(later, forecast[time].values + forecast[lead].values[i], time)
        truth = on_grid(truth.assign_coords({time: forecast[time]}), field, "forecast and what comes later")
        found.append(_sums(field, persistent.reset_coords(drop=True), truth, climate))
    return xr.concat(found, forecast[lead])


def _at(later: xr.DataArray, times: np.ndarray, time: str) -> xr.DataArray:
    """What there is at given times; NaN where there is nothing."""
    if later[time].dtype.kind != "f" or later.sizes[time] < 2:
        return later.reindex({time: times})
    step = float(np.median(np.abs(np.diff(later[time].values))))
    return later.reindex({time: times}, method="nearest", tolerance=_SAME_TIME * step)


def _sums(
    field: xr.DataArray, persistent: xr.DataArray, truth: xr.DataArray, climate: xr.DataArray
) -> xr.Dataset:
    known = field.notnull() & persistent.notnull() & truth.notnull() & climate.notnull()
    n = known.sum()
    anomaly = (truth - climate).where(known)
    scores = {"n_points": n}
    for suffix, each in (("", field), ("_persistence", persistent)):
        scores[f"rmse{suffix}"] = quotient(((each - truth) ** 2).where(known).sum(), n) ** 0.5
        own = (each - climate).where(known)
        size = ((own**2).sum() * (anomaly**2).sum()) ** 0.5
        scores[f"anomaly_correlation{suffix}"] = quotient((own * anomaly).sum(), size)
    return xr.Dataset(scores)
