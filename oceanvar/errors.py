"""Everything oceanvar raises on purpose.

Each error also inherits the built-in exception that a caller would expect, so that both
``except OceanVarError`` and ``except ValueError`` work.
"""


class OceanVarError(Exception):
    """Base of all errors of oceanvar."""


class MendedWarning(UserWarning):
    """Data were not as a model expects them, and were mended without loss."""


class ConvergenceWarning(UserWarning):
    """A result is less exact than it should be: iterations ended before it was found."""


class PatchError(OceanVarError, ValueError):
    """A patch, overlap, taper or periodic axis does not fit the grid."""


class MissingVariableError(OceanVarError, ValueError):
    """A dataset lacks a variable or a dimension that the model needs."""


class GridMismatchError(OceanVarError, ValueError):
    """Two datasets that must share a grid do not, or a grid is not as even as a method needs it."""


class ScoreError(OceanVarError, ValueError):
    """Data that cannot be scored: nothing left, NaN in a spectrum, uneven spacing."""


class UnitsMismatchError(OceanVarError, ValueError):
    """A variable is given in other units than the model was trained with."""


class ModelMismatchError(OceanVarError, ValueError):
    """A model file is damaged, foreign, or does not fit the parts it is loaded into."""


class ConfigError(OceanVarError, ValueError):
    """A configuration has an unknown key or an impossible value."""


class StoreError(OceanVarError, OSError):
    """An archive cannot be read, or an output cannot be written."""


class DivergenceError(OceanVarError, FloatingPointError):
    """A training loss is no longer a number, or a solve has no finite state any more."""


class DeviceMemoryError(OceanVarError, MemoryError):
    """A single patch needs more memory than the device has."""


class StoppedError(OceanVarError, RuntimeError):
    """A run was asked to stop and did so in good order: it can be resumed."""
