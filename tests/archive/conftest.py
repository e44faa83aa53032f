import pytest
import xarray as xr

from tests.archive.archives import write_files
from tests.labelled_fields import gappy


@pytest.fixture(scope="session")
def long_obs() -> xr.Dataset:
    """Seventy days from 2020-01-01: parts of three months."""
    return gappy({"time": 70, "lat": 11, "lon": 13})


@pytest.fixture(scope="session")
def pattern(long_obs, tmp_path_factory) -> str:
    """Those in files of ten days, obs_99.nc to obs_93.nc."""
    hours = {"time": {"units": "hours since 1950-01-01", "dtype": "float64"}}
    return write_files(long_obs, tmp_path_factory.mktemp("obs"), encoding=hours)
