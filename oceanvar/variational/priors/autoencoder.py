"""A dense auto-encoder as a prior."""

import itertools
import math
from collections.abc import Sequence

from oceanvar.errors import ConfigError
from oceanvar.maps.base import AbstractMap
from oceanvar.maps.compositions import Chain
from oceanvar.maps.dense import Dense, Flattened, Shaped
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


def generator_of(prior: AbstractMap, shape: Sequence[int]) -> AbstractMap:
    """The decoder phi of an `autoencoder_prior`, as a generator: it shares the parameters.

    Parameters
    ----------
    prior : AbstractMap
        What `autoencoder_prior` has made; trained on fields by ``fit`` with the weight `truth_projection` alone.
    shape : sequence of int
        Shape ``(V, T, *S)`` of one state.

    Returns
    -------
    AbstractMap
        Map from ``(B, n)``, n the latent dimension, to ``(B, V, T, *S)``.

    Raises
    ------
    ConfigError
        If the prior is another map.
    """
    if isinstance(prior, Flattened) and isinstance(prior.inner, Chain) and len(prior.inner.maps) == 2:
        return Shaped(prior.inner.maps[1], shape)
    raise ConfigError(f"a {type(prior).__name__} has no decoder: give what autoencoder_prior has made")


def _layers(lengths: Sequence[int]) -> AbstractMap:
    first, *others = [Dense(n_in, n_out) for n_in, n_out in itertools.pairwise(lengths)]
    return Chain(first, *(each for dense in others for each in (ReLU(), dense)))
