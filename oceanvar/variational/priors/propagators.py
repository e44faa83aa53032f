"""Models of one time step that are learned: what a state becomes, from nothing but what states became."""

from collections.abc import Sequence

from oceanvar.maps.base import AbstractMap
from oceanvar.maps.compositions import Chain, Identity, Sum
from oceanvar.maps.layers import Conv
from oceanvar.maps.padding import TimeByTime
from oceanvar.variational.priors.two_scale import bilinear_block
from oceanvar.variational.priors.unet import unet


def residual_step(
    n_variables: int, widths: Sequence[int], kernel: Sequence[int], periodic: Sequence[bool] = ()
) -> AbstractMap:
    """Model step M(x) = x + U(x) of every time on its own, U being a U-Net: what a time step changes.

    Parameters
    ----------
    n_variables : int
        Variables V of the state.
    widths : sequence of int
        Channels of each level of the U-Net, finest first. Together they are to see as far as the state is carried
        in one step.
    kernel : sequence of int
        Odd kernel size along each axis of space.
    periodic : sequence of bool, optional
        Axes of space that wrap. Default: none.

    Returns
    -------
    AbstractMap
        Map from ``(B, V, T, *S)`` to the same shape, any size of the axes: the step of a `FlowPrior`, a
        `DynamicsTerm` or a `ForecastControl`.
    """
    return Sum(Identity(), TimeByTime(unet(n_variables, n_variables, widths, kernel, periodic)))


def bilinear_tendency(
    n_variables: int, n_features: int, kernel: Sequence[int], periodic: Sequence[bool] = ()
) -> AbstractMap:
    """Tendency f of dx/dt = f(x) whose features are affine in the neighbourhood of a point, and multiply in pairs.

    The learned form of equations whose products make them chaotic, as those of fluids; a
    `oceanvar.dynamics.FlowStep` makes a model step of it.

    Parameters
    ----------
    n_variables : int
        Variables V of the state.
    n_features : int
        Features of the bilinear block.
    kernel : sequence of int
        Odd size of the neighbourhood along each axis of space; empty for states without space.
    periodic : sequence of bool, optional
        Axes of space that wrap. Default: none.

    Returns
    -------
    AbstractMap
        Map from ``(B, V, T, *S)`` to the same shape, every time on its own.
    """
    wraps = [False, *(periodic or [False] * len(kernel))]
    features = Conv(n_variables, n_features, [1, *kernel], wraps, bias=True)
    ones = [1] * len(wraps)
    return Chain(features, bilinear_block(n_features, n_variables, ones))
