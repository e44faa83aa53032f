"""Where a patch lies, in the coordinates of its grid."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import xarray as xr


@dataclass(frozen=True, eq=False)
class PatchPlaces:
    """Says in words where the patches of a grid lie.

    Parameters
    ----------
    labels : mapping of str to ndarray
        Coordinate of each dimension of the grid, in its order.
    patch : mapping of str to int
        Points of a patch.
    """

    labels: Mapping[str, np.ndarray]
    patch: Mapping[str, int]

    @classmethod
    def of(cls, ds: xr.Dataset, patch: Mapping[str, int]) -> Self:
        """Of patches of a dataset; the points of a dimension without coordinate are counted from 0."""
        labels = {dim: ds[dim].values if dim in ds.coords else np.arange(ds.sizes[dim]) for dim in patch}
        return cls(labels, patch)

    def __call__(self, origin: tuple[int, ...]) -> str:
        """First and last point of the patch with this first index along each dimension."""
        return ", ".join(
            f"{dim} {_text(labels[first])} to {_text(labels[(first + self.patch[dim] - 1) % len(labels)])}"
            for (dim, labels), first in zip(self.labels.items(), origin, strict=True)
        )


def _text(label: Any) -> str:
    """Days without their hours of midnight, numbers without the noise of their last digits."""
    if isinstance(label, np.datetime64):
        return np.datetime_as_string(label, "s").removesuffix("T00:00:00")
    return f"{label:.6g}" if isinstance(label, np.floating) else str(label)
