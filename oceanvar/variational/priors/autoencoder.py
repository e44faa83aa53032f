"""A dense auto-encoder as a prior."""

import itertools
import math
from collections.abc import Sequence

from oceanvar.maps.base import AbstractMap
from oceanvar.maps.compositions import Chain
from oceanvar.maps.dense import Dense, Flattened
from oceanvar.maps.layers import ReLU


def autoencoder_prior(shape: Sequence[int], encoder: Sequence[int], decoder: Sequence[int]) -> AbstractMap:
    """Dense auto-encoder Phi(x) = phi(psi(x)), with a ReLU between any two layers of psi and of phi.

    Section 3.1 of Fablet, Drumetz and Rousseau (2020), arXiv 2006.03653.
    ``autoencoder_prior((1, 1, 28, 28), (120, 40, 20), (200, 400))`` has the 498,844 parameters of the paper's
    model of images.

    Parameters
    ----------
    shape : sequence of int
        Shape ``(V, T, *S)`` of one state, which is fixed thereby.
    encoder : sequence of int
        Lengths after each layer of psi; the last one is the latent dimension.
    decoder : sequence of int
        Lengths after each layer of phi but the last, whose length is that of the state.

    Returns
    -------
    AbstractMap
        Map from ``(B, V, T, *S)`` to the same shape.
    """
    n_points = math.prod(shape)
    psi, phi = _layers([n_points, *encoder]), _layers([encoder[-1], *decoder, n_points])
    return Flattened(Chain(psi, phi))


def _layers(lengths: Sequence[int]) -> AbstractMap:
    first, *others = [Dense(n_in, n_out) for n_in, n_out in itertools.pairwise(lengths)]
    return Chain(first, *(each for dense in others for each in (ReLU(), dense)))
