"""The methods of Table 1 for `scripts.mnist`: what each is made of, and how the untrained ones are tuned."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import click
import numpy as np
import torch
import xarray as xr
from torch import Tensor

import oceanvar
from oceanvar.maps import AbstractMap
from oceanvar.network import fourdvarnet
from oceanvar.network.bridge import to_observations, to_tensor
from oceanvar.observing import RandomHoles
from oceanvar.variational import (
    AbstractSolver,
    Assimilator,
    ClimatologicalStart,
    ConjugateGradients,
    EOFPrior,
    FixedPoint,
    GradientDescent,
    LSTMSolver,
    Observations,
    ObservationTerm,
    PriorTerm,
    Sequential,
    VariationalCost,
    autoencoder_prior,
    two_scale_prior,
)

HOLES = RandomHoles(3, 9, ("row", "column"))
HELD_SEED, TEST_SEED = 2021, 2020
N_ATOMS = 256


@dataclass(frozen=True)
class Task:
    """Images to learn from, to choose by, and to score on, and how they are observed.

    `noise` is a standard deviation over sigma, `scale` the share of the full size, `effort` a factor on the
    number of training samples, `seed` that of initial weights and training samples.
    """

    space: oceanvar.StateSpace
    learn: xr.Dataset
    held: xr.Dataset
    test: xr.Dataset
    noise: float
    scale: float
    effort: float
    seed: int

    @property
    def shape(self) -> tuple[int, ...]:
        """(V, T, row, column) of a state."""
        return (1, *(self.space.patch[dim] for dim in self.space.dims))

    @property
    def noise_std(self) -> float:
        """Of the noise, in grey levels."""
        assert self.space.std is not None
        return self.noise * self.space.std["grey"]

    def states(self, images: xr.Dataset) -> Tensor:
        """Normalised states ``(B, 1, 1, row, column)``."""
        return to_tensor(self.space.stack(images).values, self.space)

    def observed(self, images: xr.Dataset, seed: int) -> np.ndarray:
        """One fixed draw of holes and noise: grey levels, NaN in the holes."""
        seen = images.varnet.observe(HOLES, noise_std=self.noise_std, seed=seed, dims=self.space.dims)
        return np.asarray(self.space.stack(seen).values)

    def held_out(self, n: int) -> tuple[Tensor, Observations]:
        """States and observations of held-out images, for choosing."""
        images = self.held.isel(image=slice(n))
        return self.states(images), to_observations(self.observed(images, HELD_SEED), self.space)

    @cached_property
    def atoms(self) -> np.ndarray:
        """Dictionary learned online from the training images (Mairal, Bach, Ponce and Sapiro, 2009)."""
        try:
            from sklearn.decomposition import MiniBatchDictionaryLearning
        except ImportError as error:
            raise click.ClickException(
                "the rows dict-* need scikit-learn: pip install scikit-learn"
            ) from error
        images = self.states(self.learn.isel(image=slice(round(20_000 * self.scale)))).flatten(1).numpy()
        learner = MiniBatchDictionaryLearning(
            min(N_ATOMS, len(images)),
            alpha=5.0,
            batch_size=256,
            max_iter=2,
            fit_algorithm="cd",  # twelve times as fast here as its default
            random_state=self.seed,
        )
        return np.asarray(learner.fit(images.astype(np.float64)).components_)

    @cached_property
    def eofs(self) -> EOFPrior:
        """50 principal components of the training images."""
        return EOFPrior(self.shape, 50).fit_(self.states(self.learn))


def x0(task: Task) -> Assimilator:
    """The observations, and mean grey in the holes."""
    return Assimilator(VariationalCost(ObservationTerm()), FixedPoint(), 0)


def optimal_interpolation(task: Task) -> Assimilator:
    """The best linear estimate from the covariances of all pixels."""
    start = ClimatologicalStart(task.shape, [task.noise**2]).fit_(task.states(task.learn))
    return Assimilator(VariationalCost(ObservationTerm()), FixedPoint(), 0, start)


class SparseCoding(AbstractMap):
    """Code an image by atoms of a dictionary, and decode: section 3.1 of the paper; scikit-learn does the work."""

    def __init__(self, atoms: np.ndarray, **coding: Any):
        super().__init__()
        self.register_buffer("atoms", torch.from_numpy(atoms))
        self.coding = coding

    def forward(self, x: Tensor) -> Tensor:
        """Decoded code of ``(B, V, T, *S)``."""
        from sklearn.decomposition import sparse_encode

        atoms = self.atoms.numpy()
        codes = sparse_encode(x.flatten(1).numpy().astype(atoms.dtype), atoms, **self.coding)
        return torch.from_numpy(codes @ atoms).to(x.dtype).view_as(x)


class Projection(AbstractSolver):
    """x <- Phi(x), the last step of coding and decoding, which does not put the observations back."""

    def init(self, cost: VariationalCost, obs: Observations, state: Tensor) -> None:
        """Nothing is remembered."""

    def step(
        self, cost: VariationalCost, obs: Observations, state: Tensor, carry: None
    ) -> tuple[Tensor, None]:
        """One projection."""
        return cost.prior(state), carry


def sparse_coding(task: Task, choices: Sequence[dict[str, Any]]) -> Assimilator:
    """Iterated coding and decoding with the choice that suits held-out images best."""
    states, obs = task.held_out(100)

    def assimilator(choice: dict[str, Any]) -> Assimilator:
        cost = VariationalCost(ObservationTerm(), PriorTerm(SparseCoding(task.atoms, **choice)))
        solver = Sequential((FixedPoint(), 9), (Projection(), 1))
        return Assimilator(cost, solver, solver.n_steps)

    return min((assimilator(choice) for choice in choices), key=lambda a: mse(a.solve(obs).state, states))


def omp(task: Task) -> Assimilator:
    """Orthogonal matching pursuit."""
    choices = [{"algorithm": "omp", "n_nonzero_coefs": n} for n in (5, 10, 20)]
    return sparse_coding(task, choices)


def lasso(task: Task) -> Assimilator:
    """Codes with an L1 penalty."""
    choices = [{"algorithm": "lasso_cd", "alpha": alpha, "max_iter": 2000} for alpha in (0.5, 1, 2, 5)]
    return sparse_coding(task, choices)


def mse(analysis: Tensor, truth: Tensor) -> float:
    """Mean square error."""
    return float((analysis - truth).square().mean())


def pca_costs(task: Task) -> Iterator[tuple[float, VariationalCost]]:
    """Costs on a grid of weights of the prior, with lambda_1 = 1."""
    for weight in (0.01, 0.1, 1.0, 10.0, 100.0):
        yield weight, VariationalCost(ObservationTerm(), PriorTerm(task.eofs, weight=weight))


def pca_descent(task: Task, make: Callable[[float], AbstractSolver], n_steps: int) -> Assimilator:
    """The weights and the number of steps that suit held-out images best."""
    states, obs = task.held_out(500)
    best, least = None, np.inf
    for weight, cost in pca_costs(task):
        candidate = Assimilator(cost, make(weight), n_steps)
        for n, iterate in enumerate(candidate.iterates(obs)):
            if mse(iterate, states) < least:
                least, best = mse(iterate, states), Assimilator(cost, candidate.solver, n)
    assert best is not None
    return best


def pca_fsgd(task: Task) -> Assimilator:
    """Gradient descent with steps of half the largest stable length."""
    n_points = int(np.prod(task.shape))
    return pca_descent(task, lambda weight: GradientDescent(0.5 * n_points / (1 + weight)), 300)


def pca_minimum(task: Task) -> Assimilator:
    """Conjugate gradients, 100 steps: the cost is quadratic, and this is its minimum."""
    states, obs = task.held_out(500)
    candidates = [Assimilator(cost, ConjugateGradients(), 100) for _, cost in pca_costs(task)]
    return min(candidates, key=lambda a: mse(a.solve(obs).state, states))


def learned_solver(prior: AbstractMap, n_steps: int) -> Assimilator:
    """LSTM of five hidden channels, as in the paper."""
    cost = VariationalCost(ObservationTerm(), PriorTerm(prior))
    return Assimilator(cost, LSTMSolver(1, 5, [3, 3], fold_time=True), n_steps)


def fixed_point(prior: AbstractMap) -> Assimilator:
    """FP(1): Phi of the masked image in the holes, the observations elsewhere."""
    return Assimilator(VariationalCost(ObservationTerm(), PriorTerm(prior)), FixedPoint(), 1)


def autoencoder(task: Task) -> AbstractMap:
    """20 latent dimensions, 498,844 parameters."""
    return autoencoder_prior(task.shape, (120, 40, 20), (200, 400))


def two_scale() -> AbstractMap:
    """55,100 parameters."""
    return two_scale_prior(1, 50, [11, 11], [4, 4], n_times_folded=1)


def unet_start(task: Task) -> Assimilator:
    """U-Net as the first guess, then an LSTM of 16 hidden channels on a small two-scale prior."""
    preset = fourdvarnet(
        task.space, n_steps=3, n_features=16, n_hidden=16, start_widths=(16, 96, 256), seed=task.seed
    )
    # The solver begins as one that changes nothing, so that training goes on from what the start has learned.
    torch.nn.init.zeros_(preset.assimilator.solver.update.weight)
    return preset.assimilator
