"""What a benchmark ran on, without names of machines."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("numpy", "torch", "xarray", "dask", "distributed", "zarr", "netCDF4", "xbatcher")


def described() -> str:
    """Kind of processor, its load, and versions, in one line."""
    flags = set(_processor_flags())
    widest = next((name for name in ("avx512f", "avx2") if name in flags), "no AVX2")
    versions = ", ".join(filter(None, map(_version, LIBRARIES)))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"one thread of {platform.machine()} ({widest}), {os.cpu_count()} cores, {memory:.0f} GiB, load "
        f"{os.getloadavg()[0]:.1f}, Python {platform.python_version()}, {versions}"
    )


def peak() -> float:
    """Most memory that this process has had, in MiB.

    Not getrusage: its peak may be that of the process which started this one.
    """
    status = Path("/proc/self/status").read_text().splitlines()
    (found,) = (line.split()[1] for line in status if line.startswith("VmHWM"))
    return int(found) / 1024


def _version(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return ""


def _processor_flags() -> list[str]:
    table = Path("/proc/cpuinfo")
    lines = table.read_text().splitlines() if table.is_file() else []
    return next((line.split(":")[1].split() for line in lines if line.startswith("flags")), [])
