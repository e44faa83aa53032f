"""Ways to put maps together. The adjoint of a composition is the composition of the adjoints."""

import functools
import operator
from collections.abc import Iterable
from typing import cast, final

import torch
from torch import Tensor, nn

from oceanvar.maps.base import AbstractComposition, AbstractMap, Pullback, Pushforward
from oceanvar.registry import registered


@registered
@final
class Identity(AbstractMap):
    """The map that changes nothing: every point of the state is observed directly."""

    def forward(self, x: Tensor) -> Tensor:
        """Value: `x` itself."""
        return x

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back, both the identity."""
        return x, lambda r: r

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Tangent itself."""
        del x
        return tangent


@registered
@final
class Chain(AbstractComposition):
    """One map after the other: ``Chain(f, g)(x) = g(f(x))``.

    Parameters
    ----------
    *maps : AbstractMap
        The first one first.
    """

    def __init__(self, *maps: AbstractMap):
        super().__init__()
        self.maps = cast("list[AbstractMap]", nn.ModuleList(maps))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the maps in the order given."""
        for each in self.maps:
            x = each(x)
        return x

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: the chain rule, last map first."""
        pullbacks = []
        for each in self.maps:
            x, pullback = each.linearize(x)
            pullbacks.append(pullback)

        def chained(cotangent: Tensor) -> Tensor:
            for pullback in reversed(pullbacks):
                cotangent = pullback(cotangent)
            return cotangent

        return x, chained

    def pushforward(self, x: Tensor) -> Pushforward:
        """Through map after map."""
        pushes = []
        for i, each in enumerate(self.maps):
            # The point is moved on only where another map waits for it.
            x = self.maps[i - 1](x) if i else x
            pushes.append(each.pushforward(x))

        def chained(tangent: Tensor) -> Tensor:
            for push in pushes:
                tangent = push(tangent)
            return tangent

        return chained


@registered
@final
class Sum(AbstractComposition):
    """Sum of the values of several maps: ``Sum(f, g)(x) = f(x) + g(x)``.

    Parameters
    ----------
    *maps : AbstractMap
        Maps of one input, with values of one shape.
    """

    def __init__(self, *maps: AbstractMap):
        super().__init__()
        self.maps = cast("list[AbstractMap]", nn.ModuleList(maps))

    def forward(self, x: Tensor) -> Tensor:
        """Add the values."""
        return total(each(x) for each in self.maps)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: the sum of the pull-backs."""
        values, pullbacks = zip(*(each.linearize(x) for each in self.maps), strict=True)
        return total(values), lambda r: total(pullback(r) for pullback in pullbacks)

    def pushforward(self, x: Tensor) -> Pushforward:
        """Sum of the tangents."""
        pushes = [each.pushforward(x) for each in self.maps]
        return lambda v: total(push(v) for push in pushes)


def total(tensors: Iterable[Tensor]) -> Tensor:
    """Sum of tensors, the first two first."""
    return functools.reduce(operator.add, tensors)


@registered
@final
class Product(AbstractComposition):
    """Pointwise product of two maps: ``Product(f, g)(x) = f(x) g(x)``.

    Parameters
    ----------
    left, right : AbstractMap
        Maps of one input, with values of one shape.
    """

    def __init__(self, left: AbstractMap, right: AbstractMap):
        super().__init__()
        self.left = left
        self.right = right

    def forward(self, x: Tensor) -> Tensor:
        """Multiply the values."""
        return self.left(x) * self.right(x)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: the product rule."""
        left, pull_left = self.left.linearize(x)
        right, pull_right = self.right.linearize(x)
        return left * right, lambda r: pull_left(r * right) + pull_right(r * left)

    def pushforward(self, x: Tensor) -> Pushforward:
        """Product rule."""
        left, right = self.left(x), self.right(x)
        push_left, push_right = self.left.pushforward(x), self.right.pushforward(x)
        return lambda v: push_left(v) * right + left * push_right(v)


@registered
@final
class Concatenate(AbstractComposition):
    """Values of two maps side by side along the channel axis.

    Parameters
    ----------
    left, right : AbstractMap
        Maps of one input.
    """

    def __init__(self, left: AbstractMap, right: AbstractMap):
        super().__init__()
        self.left = left
        self.right = right

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate the values."""
        return torch.cat((self.left(x), self.right(x)), dim=1)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back: split the cotangent and add what comes back."""
        left, pull_left = self.left.linearize(x)
        right, pull_right = self.right.linearize(x)
        sizes = [left.shape[1], right.shape[1]]

        def pullback(cotangent: Tensor) -> Tensor:
            to_left, to_right = cotangent.split(sizes, dim=1)
            return pull_left(to_left) + pull_right(to_right)

        return torch.cat((left, right), dim=1), pullback

    def pushforward(self, x: Tensor) -> Pushforward:
        """Concatenate the tangents."""
        push_left, push_right = self.left.pushforward(x), self.right.pushforward(x)
        return lambda v: torch.cat((push_left(v), push_right(v)), dim=1)


@final
class Shifted(AbstractComposition):
    """A map of the departure from a given state: ``Shifted(f, b)(x) = f(x + b)``.

    No model file names it: b belongs to the windows that are being solved.

    Parameters
    ----------
    inner : AbstractMap
        f.
    state : Tensor
        b, one for each window.
    """

    def __init__(self, inner: AbstractMap, state: Tensor):
        super().__init__()
        self.inner = inner
        self.state = state

    def forward(self, x: Tensor) -> Tensor:
        """f(x + b)."""
        return self.inner(x + self.state)

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value and pull-back of the inner map at ``x + b``."""
        return self.inner.linearize(x + self.state)

    def pushforward(self, x: Tensor) -> Pushforward:
        """Push-forward of the inner map at ``x + b``."""
        return self.inner.pushforward(x + self.state)
