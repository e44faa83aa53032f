"""Which part of an analysis to keep, from a file."""

import xarray as xr

from oceanvar.errors import MissingVariableError, StoreError


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
        if name not in ds.data_vars:
            raise MissingVariableError(
                f"{path} has no variable {name!r} for the mask; there are {sorted(map(str, ds.data_vars))}"
            )
        field = ds[name].load()
    return field.notnull() & (field != 0)
