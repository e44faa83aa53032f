"""What an instrument delivers: variables, scale, error variance."""

from dataclasses import dataclass

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

    Examples
    --------
    >>> Instrument(("buoy_ssh",), scaled_as=("ssh",), variance=4e-4, along_track=True).sources
    ('buoy_ssh',)
    """

    variables: tuple[str, ...]
    scaled_as: tuple[str, ...] = ()
    variance: float | str | None = None
    along_track: bool = False

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

    @property
    def scales(self) -> tuple[str, ...]:
        """Names whose normalisation the variables take."""
        return self.scaled_as or self.variables

    @property
    def sources(self) -> tuple[str, ...]:
        """Variables to read: the values, and the error variance where that is a variable."""
        return (*self.variables, self.variance) if isinstance(self.variance, str) else self.variables
