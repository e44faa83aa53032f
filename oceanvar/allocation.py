"""Have the C library keep freed memory: a third of a solver's time on a CPU can go into giving it back.

Solvers allocate and free tens of megabytes with every operation. glibc returns such blocks to the system at once,
and the system clears each page when it is asked for again. Commands and the workers that they start keep them
instead; a library does not decide this for the process of its user, who can set `ENVIRONMENT` before Python starts.
"""

import ctypes
import sys

_PARAMETERS = {
    "MALLOC_TRIM_THRESHOLD_": (-1, 2**31 - 1),
    "MALLOC_TOP_PAD_": (-2, 2**26),
    "MALLOC_MMAP_THRESHOLD_": (-3, 2**25),  # the largest that glibc takes
    "MALLOC_ARENA_MAX": (-8, 1),  # the other arenas are too small for such blocks
}
"""Variable that glibc reads when a process starts: number of the parameter in mallopt(3), and value."""

ENVIRONMENT = {name: value for name, (_, value) in _PARAMETERS.items()}
"""What to set for a process that has not started yet."""


def keep_freed_memory() -> None:
    """Set it for this process; best before threads start. Nothing happens where the C library is not glibc."""
    # Windows knows no handle of the process itself: CDLL(None) raises there.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return
    for number, value in _PARAMETERS.values():
        mallopt(number, value)
