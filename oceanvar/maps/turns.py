"""Turns and mirror images of the plane, and what they do to vectors: plain numbers, for arrays and tensors alike."""

from typing import NamedTuple


class Turn(NamedTuple):
    """A mirror image in x, or none, and then quarter turns from the last axis (x) to the one before (y) backwards.

    As `torch.rot90` and `numpy.rot90` count them: one quarter turn brings the vector (u, v) to (v, -u).
    """

    quarters: int
    is_mirrored: bool

    def of_vector(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Matrix that makes the new (u, v) of the old."""
        rows = ((-1, 0), (0, 1)) if self.is_mirrored else ((1, 0), (0, 1))
        for _ in range(self.quarters % 4):
            rows = (rows[1], (-rows[0][0], -rows[0][1]))
        return rows

    @property
    def inverse(self) -> "Turn":
        """What brings everything back."""
        return self if self.is_mirrored else Turn(-self.quarters % 4, False)


GROUPS = {
    "mirror_x": (Turn(0, False), Turn(0, True)),
    "mirror_y": (Turn(0, False), Turn(2, True)),
    "mirrors": (Turn(0, False), Turn(0, True), Turn(2, False), Turn(2, True)),
    "rotations": tuple(Turn(quarters, False) for quarters in range(4)),
    "all": tuple(Turn(quarters, mirrored) for mirrored in (False, True) for quarters in range(4)),
}
"""Groups of symmetries by name: each holds the inverse of each of its members."""
