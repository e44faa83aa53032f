"""Operators that depend on what comes with the observations: positions, latitudes, masks.

Where nothing but the state matters any `AbstractMap` serves as an operator: `Identity` observes the state
itself, and `Chain` composes maps.
"""

import abc

from torch import nn

from oceanvar.maps.base import AbstractMap
from oceanvar.variational.observations import Observations, Reader


class AbstractOperator(Reader, nn.Module, abc.ABC):
    """A family of maps of which the observations of a batch choose one.

    Parameters are learned with the rest of the model, in `bind` as in the map that it returns.
    """

    @abc.abstractmethod
    def bind(self, obs: Observations, name: str) -> AbstractMap:
        """Map H for these observations.

        Parameters
        ----------
        obs : Observations
            Observations of a batch of windows.
        name : str
            Instrument: a key of `Observations.values`.
        """


Operator = AbstractMap | AbstractOperator


def bound(operator: Operator, obs: Observations, name: str) -> AbstractMap:
    """Map that `operator` is for these observations: the operator itself where it is a map."""
    return operator.bind(obs, name) if isinstance(operator, AbstractOperator) else operator
