"""The closed list of classes that a model file may name.

A saved model holds class names and constructor arguments, never code. `registered` puts a class on
the list and remembers the arguments of each instance; `describe` and `build` translate between
instances and plain JSON.
"""

import functools
import inspect
import pkgutil
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any, TypeVar

from oceanvar.errors import ConfigError, ModelMismatchError

WINGS = ("oceanvar.maps", "oceanvar.dynamics", "oceanvar.variational")
"""Packages whose classes a model may be made of."""

_CLASSES: dict[str, type] = {}
_PLAIN = (bool, int, float, str, type(None))

T = TypeVar("T")


def registered(cls: type[T]) -> type[T]:
    """Let `cls` be named in model files; its constructor arguments are kept on each instance.

    Raises
    ------
    ConfigError
        If there is another class of that name.
    """
    other = _CLASSES.get(cls.__name__, cls)
    if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ConfigError(
            f"{cls.__module__} registers a class {cls.__name__!r}, and so does {other.__module__}: a model file "
            "could not tell them apart, rename one of them"
        )
    original: Callable[..., None] = vars(cls).get("__init__", _no_arguments)
    signature = inspect.signature(original)

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        original(self, *args, **kwargs)
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        self._constructor_arguments = {k: v for k, v in bound.arguments.items() if k != "self"}

    type.__setattr__(cls, "__init__", __init__)
    _CLASSES[cls.__name__] = cls
    return cls


@functools.cache
def import_wings() -> None:
    """Import every module whose classes a model file may name: they register themselves."""
    for wing in WINGS:
        for module in pkgutil.walk_packages(import_module(wing).__path__, f"{wing}."):
            import_module(module.name)


def _no_arguments(self: Any) -> None:
    super(type(self), self).__init__()


def is_described(obj: object) -> bool:
    """Say whether `obj` and all the parts it was made of can be written to a model file."""
    try:
        describe(obj)
    except ModelMismatchError:
        return False
    return True


def describe(obj: Any) -> Any:
    """Turn an instance of registered classes into plain JSON values.

    Raises
    ------
    ModelMismatchError
        If a part is of a class that is not registered.
    """
    if isinstance(obj, _PLAIN):
        return obj
    if isinstance(obj, list | tuple):
        return [describe(item) for item in obj]
    if isinstance(obj, dict):
        return {str(key): describe(value) for key, value in obj.items()}
    name = type(obj).__name__
    if _CLASSES.get(name) is not type(obj):
        raise ModelMismatchError(
            f"{type(obj).__module__}.{type(obj).__qualname__} is not one of oceanvar's own classes "
            "and cannot be described in a model file"
        )
    arguments = {key: _current(obj, key, value) for key, value in vars(obj)["_constructor_arguments"].items()}
    description = {"class": name, "arguments": describe(arguments)}
    changed = {
        key: getattr(obj, key)
        for key in _set_later(type(obj))
        if getattr(obj, key) != getattr(type(obj), key)
    }
    return {**description, "set": changed} if changed else description


def _set_later(cls: type) -> tuple[str, ...]:
    """Plain attributes of a class that are no arguments, and are kept where an instance has changed them."""
    return getattr(cls, "set_later", ())


def outline(parts: Iterable[tuple[str, object]]) -> list[list[Any]]:
    """Class and plain attributes of named parts, to tell apart what cannot be described.

    Two outlines may agree where parts differ in code, or in what is no number, text or list of these.
    """
    return [
        [
            name,
            f"{type(part).__module__}.{type(part).__qualname__}",
            {key: value for key, value in vars(part).items() if key != "training" and _is_plain(key, value)},
        ]
        for name, part in parts
    ]


def _is_plain(name: str, value: Any) -> bool:
    """Whether an attribute is public and made of plain values."""
    if isinstance(value, list | tuple):
        return all(_is_plain(name, item) for item in value)
    return not name.startswith("_") and isinstance(value, _PLAIN)


def _current(obj: Any, name: str, given: Any) -> Any:
    """Value of a constructor argument now: what the attribute of that name holds, if it was changed."""
    held = vars(obj).get(name, vars(obj).get("_modules", {}).get(name))
    if _CLASSES.get(type(held).__name__) is type(held):
        return held
    is_setting = name in vars(obj) and isinstance(held, _PLAIN) and isinstance(given, _PLAIN)
    return held if is_setting else given


def build(description: Any) -> Any:
    """Make the instance that `describe` described.

    Raises
    ------
    ModelMismatchError
        If a class is not on the list, or does not take the arguments given.
    """
    if isinstance(description, list):
        return [build(item) for item in description]
    if not isinstance(description, dict):
        return description
    if not {"class", "arguments"} <= set(description) <= {"class", "arguments", "set"}:
        return {key: build(value) for key, value in description.items()}
    made = _construct(description["class"], build(description["arguments"]))
    for key, value in description.get("set", {}).items():
        if key not in _set_later(type(made)) or type(value) is not type(getattr(made, key)):
            raise ModelMismatchError(
                f"the model sets {key} of {description['class']} to {value!r}, which cannot be"
            )
        setattr(made, key, value)
    return made


def _construct(name: Any, arguments: Any) -> Any:
    import_wings()
    cls = _CLASSES.get(name) if isinstance(name, str) else None
    if cls is None:
        raise ModelMismatchError(
            f"the model names the class {name!r}, which oceanvar does not know; nothing was loaded. "
            "If it is your own class, pass the finished part: oceanvar.load(path, assimilator=...)"
        )
    parameters = inspect.signature(cls).parameters
    positional = [n for n, p in parameters.items() if p.kind is inspect.Parameter.VAR_POSITIONAL]
    try:
        args = [item for n in positional for item in arguments.pop(n, ())]
        return cls(*args, **arguments)
    except (TypeError, AttributeError) as error:
        raise ModelMismatchError(
            f"the arguments given for {name} in the model do not fit: {error}"
        ) from error
