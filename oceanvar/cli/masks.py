"""Which part of an analysis to keep, from a file."""

import xarray as xr

from oceanvar.errors import StoreError
from oceanvar.labels.alignment import check_variables


def read_mask(path: str, name: str) -> xr.DataArray:
    """Boolean mask: True where a variable of a file is neither 0 nor missing.

    Parameters
    ----------
    path : str
        NetCDF file or Zarr store; the variable is read as a whole.
    name : str
        Variable, 1 over the sea and 0 or missing over land, say.

    Raises
    ------
    StoreError
        If the file cannot be opened.
    MissingVariableError
        If it lacks the variable.
    """
    try:
        ds = xr.open_dataset(path)
    except (OSError, ValueError) as error:
        raise StoreError(f"the mask {path!r} cannot be opened: {error}") from error
    with ds:
        check_variables(ds, [name], (), f"the data of the mask {path!r}")
        field = ds[name].load()
    return field.notnull() & (field != 0)
