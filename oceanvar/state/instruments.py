"""What an instrument delivers: variables, scale, error variance, bias."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from oceanvar.errors import ConfigError


@dataclass(frozen=True)
class Instrument:
    """What one instrument delivers; how it sees the state is the operator of its `ObservationTerm`.

    Parameters
    ----------
    variables : tuple of str
        Variables that hold its values: of the dataset, or of the instrument's tracks.
    scaled_as : tuple of str, optional
        For each of them the variable of the state whose mean and standard deviation normalise it, or its own
        name for physical units (a current, say). May be left out for the state's own variables.
    variance : float or str, optional
        Error variance in the squared units of the values, or the name of a variable that holds it; where that
        is NaN the observation is not used. Of what the model knows by its logarithm it is that of the logarithm, or has
        units, those of the values squared. Default: weights are masks, and the term gives the variance.
    along_track : bool
        Samples at arbitrary positions and times instead of a grid.
    bias : True or sequence of float, optional
        What each variable shows too much, in the units of the state (of its logarithm where it is known by that); it is
        taken off. True: a constant that `fit` finds, against what it knows of the state at the same points, and the
        model file keeps. Default: none.

    Raises
    ------
    ConfigError
        If variables, scales, variance and bias do not fit each other.

    Examples
    --------
    >>> Instrument(("buoy_ssh",), scaled_as=("ssh",), variance=4e-4, along_track=True).sources
    ('buoy_ssh',)
    """

    variables: tuple[str, ...]
    scaled_as: tuple[str, ...] = ()
    variance: float | str | None = None
    along_track: bool = False
    bias: Literal[True] | tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "variables", tuple(self.variables))
        object.__setattr__(self, "scaled_as", tuple(self.scaled_as))
        if len(self.scales) != len(self.variables) or not self.variables:
            raise ConfigError(
                f"an instrument needs variables and one entry of scaled_as for each: got {self.variables} "
                f"and {self.scaled_as}"
            )
        if isinstance(self.variance, int | float) and not self.variance > 0:
            raise ConfigError(
                f"the error variance of {self.variables} is {self.variance}: it must be positive"
            )
        if self.bias is not True:
            object.__setattr__(self, "bias", self._numbers())

    def _numbers(self) -> tuple[float, ...]:
        """Bias of each variable; none where there are none."""
        given = self.bias
        if not (
            isinstance(given, list | tuple)
            and len(given) in (0, len(self.variables))
            and all(isinstance(each, int | float) and math.isfinite(each) for each in given)
        ):
            raise ConfigError(
                f"the bias of {self.variables} is {given}: give True, or a finite number for each, bias=(0.1,)"
            )
        return tuple(map(float, given))

    def check_known_bias(self, name: str, variables: tuple[str, ...]) -> None:
        """Demand that the bias is not one to be found, where it cannot be one against the observations of a state.

        Parameters
        ----------
        name : str
            Of the instrument.
        variables : tuple of str
            Of the state.

        Raises
        ------
        ConfigError
            If it is.
        """
        if self.bias is True:
            raise ConfigError(
                f"a bias is found against other observations of {variables}, and {name!r} observes {self.scales}: give "
                "numbers, bias=(0.1,), or let training find it by the operator Calibration"
            )

    def to_json(self) -> dict[str, Any]:
        """Plain values for a model file, which says nothing of a bias where there is none."""
        return {key: value for key, value in asdict(self).items() if value or key != "bias"}

    @property
    def scales(self) -> tuple[str, ...]:
        """Names whose normalisation the variables take."""
        return self.scaled_as or self.variables

    @property
    def sources(self) -> tuple[str, ...]:
        """Variables to read: the values, and the error variance where that is a variable."""
        return (*self.variables, self.variance) if isinstance(self.variance, str) else self.variables
