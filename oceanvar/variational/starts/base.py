"""What every first guess is."""

import abc
from typing import NamedTuple

from torch import Tensor, nn

from oceanvar.errors import ConfigError
from oceanvar.variational.draws import Draws
from oceanvar.variational.observations import Observations, Reader


class Assessment(NamedTuple):
    """How far a first guess is from the truth and from its observations, as it says itself.

    Attributes
    ----------
    variance : Tensor
        Of its error ``(B, V, T, *S)``, normalised units squared.
    weights : Tensor
        Inverse error variances of the observations ``(B, V, T, *S)``, 0 where there are none.
    """

    variance: Tensor
    weights: Tensor


class AbstractStart(Reader, nn.Module, abc.ABC):
    """First guess x^(0) made from the observations."""

    @property
    def uses_observations(self) -> bool:
        """Whether observed values enter, as against covariates alone."""
        return True

    @property
    def knows_errors(self) -> bool:
        """Whether `assessed` says how large the error of the first guess is."""
        return False

    def assessed(self, obs: Observations) -> Assessment:
        """Assess the first guess made from some observations."""
        raise ConfigError(f"{type(self).__name__} does not know its errors: use one that has learned them")

    @property
    def draws_errors(self) -> bool:
        """Whether `deviations` draws errors of the first guess."""
        return False

    def deviations(self, obs: Observations, draws: Draws) -> Tensor:
        """Draw errors of the first guess made from some observations, ``(n, B, V, T, *S)``."""
        raise ConfigError(f"{type(self).__name__} cannot draw its errors: use one that infers a covariance")

    @abc.abstractmethod
    def forward(self, obs: Observations) -> Tensor:
        """First guess ``(B, V, T, *S)``."""
