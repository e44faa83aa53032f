"""Windows turned and mirrored as the physics allows: more to learn from few years."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from oceanvar.errors import ConfigError
from oceanvar.maps.turns import GROUPS, Turn


@dataclass(frozen=True)
class Symmetries:
    """What may be done to a window without making it less likely, for ``fit(..., symmetries=)``.

    Which of these are symmetries is for the user to say: turbulence without beta prefers no direction; with beta, and
    for sea level as a streamfunction, mirror images in y that change its sign are one:
    ``Symmetries("mirror_y", pseudoscalars=("ssh",))``.
    Dimensions of the state are time, y (latitude) and x (longitude).

    Parameters
    ----------
    group : str
        "mirror_x", "mirror_y", "mirrors", "rotations" (by quarter turns, of square patches) or "all".
    vectors : sequence of (str, str)
        Variables that are the eastward and northward part of a vector: they are turned.
    pseudoscalars : sequence of str
        Variables that change their sign in a mirror image: vorticity, streamfunctions.

    Raises
    ------
    ConfigError
        If there is no such group.
    """

    group: str
    vectors: Sequence[tuple[str, str]] = ()
    pseudoscalars: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.group not in GROUPS:
            raise ConfigError(f"group of Symmetries must be one of {sorted(GROUPS)}, got {self.group!r}")

    def check(self, names: Sequence[str], patch: Sequence[int]) -> None:
        """Refuse variables that are not there, and quarter turns of what is not square.

        Raises
        ------
        ConfigError
            For either.
        """
        named = [*self.pseudoscalars, *(each for pair in self.vectors for each in pair)]
        missing = [each for each in named if each not in names]
        if missing:
            raise ConfigError(f"Symmetries name the variable {missing[0]!r}, and the model has {list(names)}")
        if len(patch) != 3:
            raise ConfigError(f"Symmetries turn two axes of space, and a patch has {len(patch) - 1}")
        if any(turn.quarters % 2 for turn in GROUPS[self.group]) and patch[1] != patch[2]:
            raise ConfigError(
                f"the group {self.group!r} turns patches by quarters, and they have {patch[1]} x {patch[2]} points: "
                "use mirrors, or square patches"
            )

    def drawn(self, rng: np.random.Generator) -> Turn:
        """A member of the group at random."""
        return GROUPS[self.group][rng.integers(len(GROUPS[self.group]))]

    def turned(self, fields: np.ndarray, names: Sequence[str], turn: Turn) -> np.ndarray:
        """Fields ``(C, T, y, x)`` of some variables, turned."""
        fields = np.rot90(fields[..., ::-1] if turn.is_mirrored else fields, turn.quarters, (-2, -1)).copy()
        return self.values_turned(fields, names, turn)

    def values_turned(self, values: np.ndarray, names: Sequence[str], turn: Turn) -> np.ndarray:
        """Values ``(C, ...)`` of some variables with their vectors and signs turned, where they are."""
        index = {name: i for i, name in enumerate(names)}
        new = values.copy()
        for pair in self.vectors:
            if all(each in index for each in pair):
                u, v = (values[index[each]] for each in pair)
                for name, (of_u, of_v) in zip(pair, turn.of_vector(), strict=True):
                    # Exactly one of the two is not 0, and a missing value of the other does not matter.
                    new[index[name]] = of_u * u if of_u else of_v * v
        for name in self.pseudoscalars if turn.is_mirrored else ():
            if name in index:
                new[index[name]] = -values[index[name]]
        return new

    def places_turned(self, positions: np.ndarray, patch: Sequence[int], turn: Turn) -> np.ndarray:
        """Index coordinates ``(N, 3)`` of samples along time, y and x of a patch, turned."""
        times, y, x = positions.T
        _, n_y, n_x = patch
        if turn.is_mirrored:
            x = n_x - 1 - x
        for _ in range(turn.quarters % 4):
            y, x, n_y, n_x = n_x - 1 - x, y, n_x, n_y
        return np.stack((times, y, x), axis=1)
