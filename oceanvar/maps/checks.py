"""Parts and shapes that users hand in: refused in our words, where they are handed in or first called."""

import inspect

from torch import Tensor

from oceanvar.errors import ConfigError


def require(part: object, role: str, *kinds: type) -> None:
    """Refuse a part that cannot play its role.

    Parameters
    ----------
    part : object
        What was handed in.
    role : str
        What it is to be, for the message.
    *kinds : type
        Abstract classes, of which the part must be one.

    Raises
    ------
    ConfigError
        If it is of none of them, or if one of its methods takes other arguments.
    """
    kind = next((kind for kind in kinds if isinstance(part, kind)), None)
    if kind is None:
        given = f"the class {part.__name__} itself" if isinstance(part, type) else f"a {type(part).__name__}"
        raise ConfigError(f"{role} is {given}: make it an instance of {' or '.join(map(_cure, kinds))}")
    for name in _needed(kind):
        arguments = list(inspect.signature(getattr(kind, name)).parameters)
        try:
            inspect.signature(getattr(type(part), name)).bind(*arguments)
        except TypeError as error:
            raise ConfigError(
                f"{role} is called as {name}({', '.join(arguments)}), and {type(part).__name__}.{name} cannot "
                f"be: {error}"
            ) from error


def _needed(kind: type) -> list[str]:
    """Methods that a class derived from an abstract one must define."""
    return sorted(getattr(kind, "__abstractmethods__", ()))


def _cure(kind: type) -> str:
    verb = "is" if len(_needed(kind)) == 1 else "are"
    return (
        f"a class derived from {kind.__module__}.{kind.__name__}, of which {' and '.join(_needed(kind))} {verb} "
        "all it needs"
    )


def shaped_like(value: Tensor, like: Tensor, what: str, whose: str) -> Tensor:
    """`value` itself.

    Raises
    ------
    ConfigError
        If its shape is not that of `like`; `what` and `whose` say in the message what the two are.
    """
    if value.shape != like.shape:
        raise ConfigError(
            f"{what} has the shape {tuple(value.shape)}, it must have that of {whose}, {tuple(like.shape)}"
        )
    return value
