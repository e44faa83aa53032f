"""What iterations could still gain: whether a solve from the truth finds a lower cost than the packaged model.

    python -m scripts.lorenz floor lorenz63 --n-windows 1000

Where it does, the model has ended in a wrong minimum. Where it does not, the analysis is the most probable state, and
what is left is what the observations do not tell, even if the minimum beside the truth is nearer to it.
"""

from dataclasses import replace

import click
import numpy as np
import torch

import oceanvar
from oceanvar.metrics import bootstrap_ratio
from oceanvar.network.bridge import to_observations, to_tensor
from oceanvar.papers.experiments import EXPERIMENTS
from oceanvar.variational.solving import solved

LOWER = 0.01
"""By how much a cost must be lower to count."""


@torch.no_grad()
def compared(system: str, n_windows: int, seed: int) -> dict[str, np.ndarray]:
    """Square errors of each window over the mean square of the truth, and the costs of both minima."""
    truth, seen = EXPERIMENTS[system].test_windows(n_windows, seed)
    model = oceanvar.load(system)
    space, assimilator = model.state_space, model.assimilator
    true, values = (space.stack(each).transpose("window", ...).values for each in (truth, seen))
    x, obs = to_tensor(true, space), to_observations(values, space)
    guess = assimilator.first_guess(obs)
    obs = replace(obs, background=guess)
    found = assimilator.solve(obs).state
    # The background stays that of the model: only the iterations begin elsewhere.
    beside_truth = solved(assimilator.cost, assimilator.solver, assimilator.n_steps, x, obs).state
    std = torch.from_numpy(space.scales()[1])
    errors = {
        name: (((state - x) * std) ** 2).flatten(1).mean(1).numpy() / np.square(true).mean()
        for name, state in (("start", guess), ("model", found), ("from the truth", beside_truth))
    }
    ends = {"model": found, "from the truth": beside_truth}
    costs = {f"cost, {name}": assimilator.cost(state, obs).numpy() for name, state in ends.items()}
    return {**errors, **costs}


@click.command()
@click.argument("system", type=click.Choice(sorted(EXPERIMENTS)))
@click.option("--n-windows", default=1000, show_default=True)
@click.option("--seed", default=77, show_default=True, help="Of the windows.")
def main(system: str, n_windows: int, seed: int) -> None:
    """Compare the packaged model of SYSTEM with solves that begin at the truth."""
    torch.set_num_threads(1)
    found = compared(system, n_windows, seed)
    for name in ("model", "from the truth"):
        ratio = found[name].mean() / found["start"].mean()
        low, high = bootstrap_ratio(found[name], found["start"])
        print(
            f"{name}: R {found[name].mean():.2e}, {ratio:.3f} ({low:.3f} to {high:.3f}) of that of the start"
        )
    difference = found["cost, model"] - found["cost, from the truth"]
    print(f"windows of {n_windows} with a lower cost from the truth: {(difference > LOWER).sum()}")
    print(f"windows of {n_windows} with a lower cost by the model: {(difference < -LOWER).sum()}")
