"""Differentiable maps with explicit tangent and adjoint.

Operators, priors and the layers they are made of are all maps from a tensor to a tensor. Each one
knows its value, its pull-back (the product with the transposed Jacobian) and its push-forward (the
product with the Jacobian). A pull-back written by hand is an ordinary first-order computation, so
that training through a solver never needs the second derivative of a network.
"""

import abc
from collections.abc import Callable
from typing import final

import torch
from torch import Tensor, nn

Pullback = Callable[[Tensor], Tensor]
Pushforward = Callable[[Tensor], Tensor]


class AbstractMap(nn.Module, abc.ABC):
    """A map f between tensors whose first axis is the batch.

    A subclass must define `forward`. It should define `linearize` and `jvp` by hand: the defaults
    go through automatic differentiation, which is right for every module but slower in training.
    """

    @abc.abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Value f(x)."""

    def linearize(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Value f(x) and the pull-back r -> J(x)^T r at x, sharing their common work.

        Parameters
        ----------
        x : Tensor
            Point, first axis the batch.

        Returns
        -------
        value : Tensor
        pullback : callable
            Takes a tensor shaped like the value, gives one shaped like `x`.
        """
        return autograd_linearize(self.forward, x)

    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Product J(x) v of the Jacobian with a tangent shaped like `x`."""
        try:
            return torch.func.jvp(self.forward, (x,), (tangent,))[1]
        except NotImplementedError:
            # Some modules of torch (LSTM, grid_sample) know no forward mode.
            return reversed_twice(self.forward, x, tangent)

    def pushforward(self, x: Tensor) -> Pushforward:
        """Map v -> J(x) v at x, for several tangents at one point: what they share is done once."""
        return lambda tangent: self.jvp(x, tangent)

    @property
    def one_step(self) -> "AbstractMap | None":
        """Model M of one time step, where f(x) is x_0 and then M(x_0), M(x_1), ...; None where it is not."""
        return None

    @final
    def vjp(self, x: Tensor, cotangent: Tensor) -> Tensor:
        """Product J(x)^T r of the transposed Jacobian with a cotangent shaped like f(x)."""
        return self.linearize(x)[1](cotangent)


class AbstractComposition(AbstractMap):
    """A map made of maps: it defines `pushforward` by theirs, and `jvp` follows."""

    @abc.abstractmethod
    def pushforward(self, x: Tensor) -> Pushforward:
        """Map v -> J(x) v at x, with the values inside that the maps at work need."""

    @final
    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Product J(x) v of the Jacobian with a tangent shaped like `x`."""
        return self.pushforward(x)(tangent)


def autograd_linearize(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Pullback]:
    """Linearise any differentiable function by automatic differentiation.

    Works in every grad mode of the caller, also under ``no_grad`` and ``inference_mode``; a graph for
    a second differentiation is kept only when the caller records gradients.
    """
    recording = torch.is_grad_enabled()
    with torch.inference_mode(False), torch.enable_grad():
        point = x if recording and x.requires_grad else x.detach().clone().requires_grad_()
        value = function(point)

    def pullback(cotangent: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            cotangent = cotangent if recording else cotangent.detach().clone()
            (gradient,) = torch.autograd.grad(
                value, point, cotangent, create_graph=recording, retain_graph=True
            )
        return gradient

    return (value if recording else value.detach()), pullback


def reversed_twice(function: Callable[[Tensor], Tensor], x: Tensor, tangent: Tensor) -> Tensor:
    """Product J(x) v by reverse mode alone: J^T u is linear in u, and its pull-back is J.

    Costs about two pull-backs. Works in every grad mode of the caller, as `autograd_linearize` does.
    """
    recording = torch.is_grad_enabled()
    with torch.inference_mode(False), torch.enable_grad():
        point = x if recording and x.requires_grad else x.detach().clone().requires_grad_()
        value = function(point)
        cotangent = torch.zeros_like(value, requires_grad=True)
        (pulled,) = torch.autograd.grad(value, point, cotangent, create_graph=True)
        tangent = tangent if recording else tangent.detach().clone()
        (pushed,) = torch.autograd.grad(pulled, cotangent, tangent, create_graph=recording)
    return pushed if recording else pushed.detach()
