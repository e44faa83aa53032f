"""Find how far the error bars of a packaged Lorenz model may trust its learned background; nothing is trained.

    python -m scripts.lorenz calibrate lorenz63 --out oceanvar/models

The background is the analysis of a network that has seen the observations which the cost brings a second time, and
whose errors are mostly small and seldom very large. The trust in it, and in all terms together, is that of the greatest
likelihood of the errors of other windows than those of any training, test or check.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import click
import torch

import oceanvar
from oceanvar.network.bridge import to_observations, to_tensor
from oceanvar.papers.experiments import EXPERIMENTS, N_TIMES
from oceanvar.variational import FirstStateTerm, Observations, VariationalCost, posterior_variance

CALIBRATION_SEED, CHECK_SEED = 5, 6
TRUSTS = (1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.08)
EDGE = 10
"""Steps at both ends of a window that Lorenz-63 does not observe."""

BATCH = 50


class Trusts(NamedTuple):
    """Trust in all terms, and times that in the background."""

    all_terms: float
    background: float


def trust(cost: VariationalCost, trusts: Trusts) -> None:
    """Set the trust in the terms of a cost."""
    for term in cost.terms:
        factor = trusts.background if isinstance(term, FirstStateTerm) else 1.0
        term.trust = factor * trusts.all_terms


class Errors:
    """Analyses of windows that no training has seen, and their errors.

    Parameters
    ----------
    model : VarNet
        Model.
    system : str
        Its system.
    n_windows, seed : int
        How many windows, and of which seed.
    """

    def __init__(self, model: oceanvar.VarNet, system: str, n_windows: int, seed: int):
        self.cost, space = model.assimilator.cost, model.state_space
        truth, seen = EXPERIMENTS[system].test_windows(n_windows, seed)
        values, states = space.stack(seen).values, to_tensor(space.stack(truth).values, space)
        self.batches: list[tuple[torch.Tensor, Observations, torch.Tensor]] = []
        with torch.no_grad():
            for first in range(0, n_windows, BATCH):
                obs = to_observations(values[first : first + BATCH], space)
                analysis = model.assimilator.solve(obs).state
                obs = replace(obs, background=model.assimilator.first_guess(obs))
                self.batches.append((analysis, obs, analysis - states[first : first + BATCH]))

    def normalised(self, trusts: Trusts) -> tuple[torch.Tensor, torch.Tensor]:
        """Errors over their standard deviations ``(n, V, T, *S)``, and the logarithms of these."""
        trust(self.cost, trusts)
        stds = [posterior_variance(self.cost, state, obs).sqrt() for state, obs, _ in self.batches]
        errors = [error / std for std, (_, _, error) in zip(stds, self.batches, strict=True)]
        return torch.cat(errors), torch.cat(stds).log()

    def likeliest(self) -> Trusts:
        """Of the greatest Gaussian likelihood; for each trust in the background the one in all terms is known."""
        found = {}
        for background in TRUSTS:
            errors, logs = self.normalised(Trusts(1.0, background))
            square = float(errors.square().mean())
            found[Trusts(round(1 / square, 3), background)] = float(logs.mean()) + math.log(square) / 2
        return min(found, key=lambda each: found[each])

    def coverage(self, trusts: Trusts) -> dict[str, str]:
        """Shares of errors within two standard deviations and within the 90 % interval, and error over stated."""
        errors, logs = self.normalised(trusts)
        parts = {
            "first ten steps": slice(0, EDGE),
            "last ten steps": slice(N_TIMES - EDGE, N_TIMES),
            "steps between": slice(EDGE, N_TIMES - EDGE),
        }
        found = {}
        for name, which in parts.items():
            size, std = errors[:, :, which].abs(), logs[:, :, which].exp()
            over = float((size * std).square().mean().sqrt() / std.square().mean().sqrt())
            within = [float((size < bound).double().mean()) for bound in (2.0, 1.6449)]
            found[name] = (
                f"{within[0]:.3f} within two, {within[1]:.3f} within 1.645, error over stated {over:.2f}"
            )
        return found


@click.command()
@click.argument("system", type=click.Choice(sorted(EXPERIMENTS)))
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
@click.option(
    "--n-windows", default=2000, show_default=True, help="Windows of calibration, and of the check."
)
def main(system: str, out: Path, n_windows: int) -> None:
    """Calibrate the error bars of the packaged model of SYSTEM, check them on other windows, save it in OUT."""
    model = oceanvar.load(system)
    found = Errors(model, system, n_windows, CALIBRATION_SEED).likeliest()
    check = Errors(model, system, n_windows, CHECK_SEED)
    rows = {each: check.coverage(each) for each in (Trusts(1.0, 1.0), found)}
    for trusts, row in rows.items():
        print("\n".join(f"{trusts}, {part}: {said}" for part, said in row.items()))
    command = f"python -m scripts.lorenz calibrate {system} --n-windows {n_windows}"
    added = {
        "error bars": f"trust {found.all_terms} in all terms, times {found.background} in the background: {command}",
        **{f"error bars, {part}": said for part, said in rows[found].items()},
    }
    trust(model.assimilator.cost, found)
    model.provenance["card"] |= added
    out.mkdir(parents=True, exist_ok=True)
    model.save(out / f"{system}.varnet", half=True)
    card = (Path(oceanvar.__file__).parent / "models" / f"{system}.md").read_text().splitlines()
    kept = [line for line in card if not line.startswith("- error bars")]
    lines = [*kept, *(f"- {name}: {said}" for name, said in added.items())]
    (out / f"{system}.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
