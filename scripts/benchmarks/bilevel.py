"""What it costs to learn the weights of a cost: minima as exact as each step needs, or a fixed number of iterations."""

from collections.abc import Iterator
from contextlib import contextmanager

import click
import torch
from torch import Tensor

from oceanvar.maps import Gradient, Identity
from oceanvar.training.bilevel import Bilevel
from oceanvar.training.losses import Sample, mean_square
from oceanvar.variational import (
    LBFGS,
    Assimilator,
    ClimateMean,
    GradientDescent,
    Grouped,
    MapTerm,
    Observations,
    ObservationTerm,
    SmoothedL1,
    VariationalCost,
)
from scripts.benchmarks import machine

NOISE_STD, N_PATCHES, SIZE = 0.3, 4, 24


def fronts(seed: int, n: int = N_PATCHES, size: int = SIZE) -> Sample:
    """Two water masses with a front in each window, seen everywhere with noise."""
    generator = torch.Generator().manual_seed(seed)
    axis = torch.linspace(-1, 1, size, dtype=torch.float64)
    angles, places = (
        2 * torch.pi * torch.rand(n, generator=generator),
        torch.rand(n, generator=generator) - 0.5,
    )
    across = torch.cos(angles).view(-1, 1, 1) * axis + torch.sin(angles).view(-1, 1, 1) * axis.view(-1, 1)
    truth = torch.where(across > places.view(-1, 1, 1), 1.0, -1.0).double().view(n, 1, 1, size, size)
    noisy = truth + NOISE_STD * torch.randn(truth.shape, generator=generator, dtype=torch.float64)
    return Sample(truth, torch.ones_like(truth), Observations.from_nan(noisy))


def smoothed_variation() -> VariationalCost:
    """Total variation with a weight, a smoothing and a share of |x|^2 to learn: the example of the lectures."""
    variation = MapTerm(Gradient([1, 2]), 0.02, Grouped(SmoothedL1(0.3, trainable=True)))
    return VariationalCost(ObservationTerm(), variation, MapTerm(Identity(), 0.05)).double()


@contextmanager
def counted(counts: list[int]) -> Iterator[None]:
    """Count evaluations of costs, of their gradients and of products with second derivatives, those of training too."""
    at, forward = VariationalCost.at, VariationalCost.forward
    gradient = VariationalCost.gradient

    def counting(method):
        def call(self, *args):
            counts.append(1)
            result = method(self, *args)
            if isinstance(result, Tensor) and result.requires_grad and torch.is_grad_enabled():
                result.register_hook(lambda g: counts.append(1))  # and once more on the way back
            return result

        return call

    VariationalCost.at, VariationalCost.forward = counting(at), counting(forward)
    VariationalCost.gradient = counting(gradient)
    try:
        yield
    finally:
        VariationalCost.at, VariationalCost.forward, VariationalCost.gradient = at, forward, gradient


def parameters_of(cost: VariationalCost) -> list[torch.nn.Parameter]:
    """Logarithms of the weight and the smoothing of the variation, and of the weight of |x|^2."""
    return [cost.terms[1].log_weight, cost.terms[1].penalty.penalty.log_eps, cost.terms[2].log_weight]


def dynamic(sample: Sample, n_steps: int) -> tuple[list[tuple[int, float]], VariationalCost]:
    """Work and loss after each step of a bilevel search."""
    cost, counts, path = smoothed_variation(), [], []
    bilevel = Bilevel(
        Assimilator(cost, LBFGS(tolerance=0), 500, ClimateMean()), [sample], parameters_of(cost)
    )
    with counted(counts):
        for _ in range(n_steps):
            steps = bilevel.run(1)
            path.append((len(counts), steps[-1].loss))
            if len(steps) == 1:
                break
    return path, cost


def unrolled(sample: Sample, n_iterations: int, n_steps: int, rate: float) -> list[tuple[int, float]]:
    """Work and loss after each step of Adam through a fixed number of gradient steps."""
    cost, counts, path = smoothed_variation(), [], []
    assimilator = Assimilator(cost, GradientDescent(), n_iterations, ClimateMean())
    optimizer = torch.optim.Adam(parameters_of(cost), lr=rate)
    with counted(counts):
        for _ in range(n_steps):
            optimizer.zero_grad()
            loss = mean_square(assimilator(sample.obs) - sample.truth, sample.known)
            loss.backward()
            path.append((len(counts), float(loss.detach())))
            optimizer.step()
    return path


def work_to(path: list[tuple[int, float]], loss: float) -> float:
    """Evaluations until the loss is this, infinite where it never is."""
    return next((work for work, each in path if each <= loss), float("inf"))


@click.command()
@click.option("--steps", default=60, show_default=True)
@click.option("--iterations", default=(50, 200, 800), multiple=True, show_default=True)
@click.option("--size", default=SIZE, show_default=True, help="Points along a side of a window.")
def bilevel(steps: int, iterations: tuple[int, ...], size: int) -> None:
    """Evaluations of a cost that learning its parameters takes, with dynamic accuracy and with fixed unrolling."""
    click.echo(machine.described())
    sample, other = fronts(0, size=size), fronts(1, size=size)
    path, cost = dynamic(sample, steps)
    best = path[-1][1]
    analysis = Assimilator(cost, LBFGS(), 500, ClimateMean()).solve(other.obs).state
    held = float(mean_square(analysis - other.truth, other.known).sqrt())
    weight, eps, squared = (float(each.detach().exp()) for each in parameters_of(cost))
    click.echo(
        f"dynamic accuracy: mean square {path[0][1]:.4f} to {best:.4f} in {path[-1][0]} evaluations; weight "
        f"{weight:.3g}, smoothing {eps:.3g}, squared {squared:.3g}; rms on other windows {held:.3f}, noise {NOISE_STD}"
    )
    for n in iterations:
        paths = {rate: unrolled(sample, n, steps, rate) for rate in (0.1, 0.3)}
        rate, found = min(paths.items(), key=lambda item: min(loss for _, loss in item[1]))
        lowest = min(loss for _, loss in found)
        target = 1.02 * max(best, lowest)
        ratio = work_to(found, target) / work_to(path, target)
        click.echo(
            f"{n} unrolled iterations, rate {rate}: mean square {lowest:.4f} in {found[-1][0]} evaluations; "
            f"{ratio:.1f} times the work to {target:.4f}"
        )
