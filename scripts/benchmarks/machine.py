"""What a benchmark ran on, without names of machines."""

import platform
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("numpy", "torch", "xarray")


def described() -> str:
    """Kind of processor and versions, in one line."""
    flags = set(_processor_flags())
    widest = next((name for name in ("avx512f", "avx2") if name in flags), "no AVX2")
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return f"one thread of {platform.machine()} ({widest}), Python {platform.python_version()}, {versions}"


def _processor_flags() -> list[str]:
    table = Path("/proc/cpuinfo")
    lines = table.read_text().splitlines() if table.is_file() else []
    return next((line.split(":")[1].split() for line in lines if line.startswith("flags")), [])
