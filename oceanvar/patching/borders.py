"""What patches cost in accuracy at their borders, and from that the patches and overlaps that cost least time."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

MOST_WORSE = 1.01
"""Error that cheaper patches may have, over that of a model's own ones."""


@dataclass(frozen=True)
class Border:
    """How the error of a stitched field depends on patches along one dimension.

    Parameters
    ----------
    by_overlap : tuple of float
        Root mean square error of the stitched field with an overlap of 0, 1, 2... points, up to one less than the
        patch, over that with the model's own overlap.
    large : float, optional
        Error in the middle of a patch of nearly twice the size, over the same; None where patches have one size.
    """

    by_overlap: tuple[float, ...]
    large: float | None = None

    def __post_init__(self) -> None:
        # A model file holds plain values.
        object.__setattr__(self, "by_overlap", tuple(self.by_overlap))

    @property
    def least_overlap(self) -> int:
        """Smallest overlap from which on the error is hardly larger than with the model's own."""
        too_small = [n for n, error in enumerate(self.by_overlap) if error > MOST_WORSE]
        return min(max(too_small, default=-1) + 1, len(self.by_overlap) - 1)

    @property
    def may_grow(self) -> bool:
        """Whether larger patches are as good."""
        return self.large is not None and self.large <= MOST_WORSE


def economical(
    sizes: Mapping[str, int],
    patch: Mapping[str, int],
    overlap: Mapping[str, int],
    borders: Mapping[str, Border],
    chosen: Collection[str],
    most_points: int,
) -> tuple[dict[str, int], dict[str, int]]:
    """Patches and overlaps that solve as few points as the borders allow.

    Parameters
    ----------
    sizes : mapping of str to int
        Points of the grid.
    patch, overlap : mapping of str to int
        Those that are chosen, or the model's own.
    borders : mapping of str to Border
        What is known of the dimensions; the others stay as they are.
    chosen : collection of str
        Dimensions whose patch and overlap are not to change.
    most_points : int
        Points of a patch, in all dimensions, beyond which it does not grow.

    Returns
    -------
    (dict, dict)
        Patch and overlap. A dimension along which patches may grow is one patch, or several of one size that
        together fit it.
    """
    patch, overlap = dict(patch), dict(overlap)
    free = {dim: border for dim, border in borders.items() if dim not in chosen}
    overlap |= {dim: border.least_overlap for dim, border in free.items()}
    growing = [dim for dim, border in free.items() if border.may_grow]
    pieces = dict.fromkeys(growing, 1)

    def grown() -> dict[str, int]:
        # Pieces of one size, and none shorter than the model's own patch.
        even = {dim: -(-(sizes[dim] + (n - 1) * overlap[dim]) // n) for dim, n in pieces.items()}
        return {dim: max(n, min(patch[dim], sizes[dim])) for dim, n in even.items()}

    while math.prod((patch | grown()).values()) > most_points:
        lengths = {dim: n for dim, n in grown().items() if n > patch[dim]}
        if not lengths:
            break
        pieces[max(lengths, key=lambda dim: lengths[dim])] += 1
    patch |= grown()
    for dim in growing:
        overlap[dim] = min(overlap[dim], patch[dim] - 1) if patch[dim] < sizes[dim] else 0
    return patch, overlap
