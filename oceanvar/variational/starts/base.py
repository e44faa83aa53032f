"""What every first guess is."""

import abc

from torch import Tensor, nn

from oceanvar.variational.observations import Observations, Reader


class AbstractStart(Reader, nn.Module, abc.ABC):
    """First guess x^(0) made from the observations."""

    @property
    def uses_observations(self) -> bool:
        """Whether observed values enter, as against covariates alone."""
        return True

    @abc.abstractmethod
    def forward(self, obs: Observations) -> Tensor:
        """First guess ``(B, V, T, *S)``."""
