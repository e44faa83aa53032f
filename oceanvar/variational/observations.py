"""What a solve is given besides the state."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor


# Not frozen: lightning-fabric moves the tensors of a dataclass by setting its fields.
@dataclass
class Observations:
    """Observations of a batch of windows, by the name of the instrument.

    Parameters
    ----------
    values : mapping of str to Tensor
        Observed values y, each ``(B, ...)`` in the space of its operator, normalised units. Points
        that were not observed hold 0 and never matter.
    weights : mapping of str to Tensor
        Mask of the observed points, or mask over error variance: 0 where nothing was observed.
    covariates : mapping of str to Tensor
        Other fields that may help, each ``(B, 1, T, *S)``. One with gaps holds 0 there, and `weights` holds
        its mask under the same name.
    background : Tensor, optional
        First guess x^b, shaped like the state ``(B, V, T, *S)``.
    positions : mapping of str to Tensor
        For instruments that observe at scattered positions, ``(B, n, 1 + len(S))``: index coordinates of
        every sample along time and the space axes of its window.
    """

    values: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]
    covariates: Mapping[str, Tensor] = field(default_factory=dict)
    background: Tensor | None = None
    positions: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def from_nan(cls, values: Tensor, background: Tensor | None = None) -> "Observations":
        """Observations of the state itself, with NaN where nothing was observed."""
        observed = torch.isfinite(values)
        return cls(
            values={"state": torch.where(observed, values, 0.0)},
            weights={"state": observed.to(values.dtype)},
            background=background,
        )

    def _map(self, function: Any) -> "Observations":
        return replace(
            self,
            values={name: function(x) for name, x in self.values.items()},
            weights={name: function(x) for name, x in self.weights.items()},
            covariates={name: function(x) for name, x in self.covariates.items()},
            positions={name: function(x) for name, x in self.positions.items()},
            background=None if self.background is None else function(self.background),
        )

    def to(self, *args: Any, **kwargs: Any) -> "Observations":
        """Move or convert every tensor, as `torch.Tensor.to` does."""
        return self._map(lambda x: x.to(*args, **kwargs))

    def pin_memory(self) -> "Observations":
        """Copy every tensor to memory that a GPU can read by itself."""
        return self._map(lambda x: x.pin_memory())

    def __getitem__(self, index: slice | Tensor | list[int]) -> "Observations":
        """Select windows of the batch."""
        return self._map(lambda x: x[index])


class Reads(NamedTuple):
    """Names under which a part of an assimilator looks something up in `Observations`."""

    instruments: tuple[str, ...] = ()
    covariates: tuple[str, ...] = ()


class Reader:
    """A part of an assimilator that may look at observations or covariates by name.

    Those of oceanvar say what they read, so that a model can be compared with its state space when it is made.
    """

    @property
    def reads(self) -> Reads:
        """What it looks at; nothing by default."""
        return Reads()
