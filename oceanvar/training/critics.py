"""Train an energy to tell plausible states from implausible ones, which need not be of the same place or time."""

from collections.abc import Iterator
from itertools import chain, count, islice

import torch
from torch import Tensor, nn
from torch.nn import functional

from oceanvar.maps.base import AbstractMap
from oceanvar.training.ahead import drawn_ahead
from oceanvar.training.loop import Samples


def train_critic(
    energy: AbstractMap,
    plausible: Samples,
    implausible: Samples,
    *,
    n_steps: int,
    learning_rate: float,
    penalty: float,
    seed: int,
) -> list[tuple[float, float]]:
    """Lower the energy of plausible windows and raise that of implausible ones, in place.

    Minimises mean E(plausible) - mean E(implausible) over energies per point that change by no more than the root mean
    square of a change of the state: the critic of Lunz, Oktem and Schonlieb (2018, NeurIPS), whose energy measures the
    distance of Wasserstein to the plausible states. What exceeds that slope, between the two kinds, is penalised.

    Parameters
    ----------
    energy : AbstractMap
        E, from ``(B, V, T, *S)`` to ``(B,)``.
    plausible, implausible : Samples
        Windows, of which only the true states are looked at.
    n_steps : int
        Gradient steps.
    learning_rate : float
        Of Adam.
    penalty : float
        Weight of the squared excess of the slope.
    seed : int
        Of the states between the two kinds.

    Returns
    -------
    list of (float, float)
        For each step the difference of the mean energies per point, implausible minus plausible, and the mean slope.
    """
    optimizer = torch.optim.Adam(energy.parameters(), lr=learning_rate, betas=(0.5, 0.9))
    generator = torch.Generator().manual_seed(seed)
    records = []
    pairs = zip(_states(plausible), _states(implausible), strict=False)
    for good, bad in islice(drawn_ahead(pairs), n_steps):
        n = min(len(good), len(bad))
        good, bad = good[:n], bad[:n]
        share = torch.rand(n, *[1] * (good.ndim - 1), generator=generator)
        slope = _slope(energy, torch.lerp(good, bad, share))
        difference = (energy(bad).mean() - energy(good).mean()) / good[0].numel()
        optimizer.zero_grad()
        (penalty * functional.relu(slope - 1).square().mean() - difference).backward()
        nn.utils.clip_grad_norm_(energy.parameters(), 10.0)
        optimizer.step()
        records.append((difference.item(), slope.mean().item()))
    return records


def _states(samples: Samples) -> Iterator[Tensor]:
    """States of all windows, epoch after epoch, without end."""
    epochs = (samples.batches(epoch, 0, 1) for epoch in count())
    return (sample.truth for sample in chain.from_iterable(epochs))


def _slope(energy: AbstractMap, state: Tensor) -> Tensor:
    """Change of the energy per point over the root mean square of the change of the state, at most; by window."""
    state = state.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(energy(state).sum(), state, create_graph=True)
    return gradient.flatten(1).norm(dim=1) / state[0].numel() ** 0.5
