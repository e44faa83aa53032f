"""Super-observations: dense observations averaged before they are used, with the error of the mean.

Neighbours of a point are counted, not weighed: 150 pixels of one cloud edge say less than 150 means of four, which
reach twice as far. Within a box the signal must vary little beside the noise: its variation is no part of the error.
"""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError
from oceanvar.labels.coordinates import (
    LATITUDE,
    LONGITUDE,
    coordinate_of,
    half_turned,
    is_time,
    metric_name,
    numbers,
)

SECONDS_A_DAY = 86_400.0


def average_pixels(
    obs: xr.DataArray, sizes: Mapping[str, int], noise_std: float | xr.DataArray
) -> xr.Dataset:
    """Average gridded observations over boxes of pixels.

    Parameters
    ----------
    obs : DataArray
        Observations, NaN where nothing was observed.
    sizes : Mapping[str, int]
        Number of pixels of a box along each dimension; boxes at the end may be smaller.
    noise_std : float or DataArray
        Standard deviation of the independent errors of the pixels.

    Returns
    -------
    Dataset
        The mean of what was seen in a box, under the name of `obs` (or "mean"), at the centre of the box, and its
        ``noise_std``. Lazy if `obs` is.

    Raises
    ------
    ConfigError
        When a size is smaller than one, or `obs` lacks the dimension.
    """
    wrong = {name: size for name, size in sizes.items() if size < 1 or name not in obs.dims}
    if wrong:
        raise ConfigError(f"boxes need sizes of 1 or more along the dimensions {list(obs.dims)}, not {wrong}")
    variance = (xr.DataArray(noise_std) ** 2).where(obs.notnull()).transpose(*obs.dims)

    boxes = obs.coarsen(sizes, boundary="pad")
    count = boxes.count()
    total = variance.coarsen(sizes, boundary="pad").sum()
    noise = (total**0.5 / count.where(count > 0)).assign_attrs(
        {key: obs.attrs[key] for key in ("units",) if key in obs.attrs}
    )
    mean = boxes.mean().assign_attrs(obs.attrs)
    return xr.Dataset({obs.name or "mean": mean, "noise_std": noise})


def average_samples(
    samples: xr.DataArray, seconds: float, noise_std: float, passes: str = "track"
) -> xr.Dataset:
    """Average the samples of each pass over stretches of a given duration.

    Parameters
    ----------
    samples : DataArray
        Values over one dimension, with coordinates time, longitude, latitude and `passes`; NaN are left out.
    seconds : float
        Duration of a stretch, some 6.7 km a second. Stretches are counted from the first sample of a pass.
    noise_std : float
        Standard deviation of the independent errors of the samples.
    passes : str
        Name of the coordinate that numbers the passes.

    Returns
    -------
    Dataset
        Over the dimension of the samples: the means under their name (or "mean"), the ``noise_std`` of each, and
        the mean times and positions.

    Raises
    ------
    ConfigError
        When the duration or noise is not positive, or the samples have several dimensions.
    MissingVariableError
        When they have no such coordinate.
    """
    if samples.ndim != 1 or not (0 < seconds < np.inf and 0 < noise_std < np.inf):
        raise ConfigError(
            f"need samples of one dimension (given {samples.ndim}), and a positive duration (given {seconds}) "
            f"and noise_std (given {noise_std})"
        )
    dim = samples.dims[0]
    samples = samples.dropna(dim)
    _, number = np.unique(coordinate_of(samples, passes), return_inverse=True)
    clock = next(name for name, one in samples.coords.items() if is_time(one))
    days = numbers(samples[clock]).values
    first = np.full(number.max(initial=0) + 1, np.inf)
    np.minimum.at(first, number, days)
    stretch = np.floor((days - first[number]) * SECONDS_A_DAY / seconds + 1e-6).astype(int)
    _, start, box, counts = np.unique(
        np.stack([number, stretch]), axis=1, return_index=True, return_inverse=True, return_counts=True
    )

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(box, values, len(counts)) / counts

    result = samples.isel({dim: start}).copy(data=mean(samples.values)).rename(samples.name or "mean")
    for name, one in samples.coords.items():
        if name == clock:
            away = mean(days - days[start][box]) * np.timedelta64(86_400_000_000_000, "ns")
            result = result.assign_coords({name: result[name] + away.astype("timedelta64[ns]")})
        elif metric_name(one) in (LATITUDE, LONGITUDE):
            away = half_turned(one.values - one.values[start][box])
            result = result.assign_coords({name: result[name] + mean(away)})
    return result.to_dataset().assign(noise_std=(dim, noise_std / np.sqrt(counts)))
