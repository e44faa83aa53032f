"""What property tests draw: patch grids, partitions into chunks."""

import numpy as np
from hypothesis import strategies as st

from oceanvar.patching.grids import PatchGrid


@st.composite
def patch_grids(
    draw: st.DrawFn,
    max_size: int = 13,
    max_time: int | None = None,
    may_close: tuple[str, ...] = ("time", "lat", "lon"),
) -> PatchGrid:
    """Grids of one to three axes, of which those of `may_close` may be rings."""
    dims = ["time", "lat", "lon"][: draw(st.integers(1, 3))]
    most = {"time": max_time or max_size}
    sizes = {dim: draw(st.integers(1, most.get(dim, max_size))) for dim in dims}
    patch = {dim: draw(st.integers(1, n)) for dim, n in sizes.items()}
    overlap = {dim: draw(st.integers(0, n - 1)) for dim, n in patch.items()}
    return PatchGrid(
        sizes, patch, overlap, tuple(dim for dim in dims if dim in may_close and draw(st.booleans()))
    )


def partitions(n: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Sizes of chunks that add up to `n`."""
    cuts = st.sets(st.integers(1, n - 1)) if n > 1 else st.just(set())
    return cuts.map(lambda inner: tuple(np.diff([0, *sorted(inner), n]).tolist()))
