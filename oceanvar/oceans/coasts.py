"""Land of a sea: none, islands that are drawn, or a piece of the real coasts."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError
from oceanvar.labels.masks import sea_at
from oceanvar.truths.random_fields import gaussian_field

MOST_LAND = 0.6


def drawn_coast(coords: Mapping[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Where there is sea ``(Y, X)``: everywhere in half of the seas; the others have drawn or real coasts.

    Real ones need the package roaring-landmask; without it all coasts are drawn.
    """
    shape = (len(coords["latitude"]), len(coords["longitude"]))
    kind = rng.random()
    if kind < 0.5:
        return np.ones(shape, bool)
    if kind < 0.75:
        sea = _real(coords)
        if sea is not None and 1 - MOST_LAND < sea.mean() < 1:
            return sea
    share, length = rng.uniform(0.02, MOST_LAND), rng.uniform(2, 20)
    height = gaussian_field(shape, (length, length), rng)
    return height <= np.quantile(height, 1 - share)


def _real(coords: Mapping[str, np.ndarray]) -> np.ndarray | None:
    places = xr.Dataset(coords={dim: coords[dim] for dim in ("latitude", "longitude")})
    try:
        return sea_at(places).values
    except ConfigError:
        return None
