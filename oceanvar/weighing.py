"""Learn the few parameters of a cost, weights, error variances or smoothings, by the analyses that they give."""

from collections.abc import Sequence
from typing import cast

import xarray as xr

from oceanvar.errors import ConfigError
from oceanvar.network.training_windows import TrainingWindows
from oceanvar.network.varnet import VarNet
from oceanvar.observing.samplers import AbstractRule, AbstractSampler
from oceanvar.observing.withholding import AsMissing, withholds
from oceanvar.state.divisions import Division
from oceanvar.state.windows import WindowSource
from oceanvar.training.bilevel import Bilevel, in_double


def fit_cost(
    model: VarNet,
    truth: xr.Dataset,
    observations: xr.Dataset | AbstractRule | None = None,
    *,
    parameters: Sequence[str],
    noise_std: float = 0.0,
    n_windows: int = 16,
    n_steps: int = 30,
    convexity: float | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Choose named parameters of a model's cost in place, so that its minima come nearest to what is known.

    Bilevel learning, for costs that are convex and solvers that minimise them (``LBFGS(tolerance=0)``). Every step
    lowers the error for sure, and minima are only found as exactly as that takes, see `oceanvar.training.bilevel`.

    Parameters
    ----------
    model : VarNet
        Model; its normalisation comes from `truth` unless its state space has one.
    truth : Dataset
        True fields, or observations with gaps, of which parts are withheld.
    observations : Dataset, AbstractSampler or AbstractRule, optional
        As for `oceanvar.fit`. Default: `truth` are observations, withheld as data are missing.
    parameters : sequence of str
        Names of parameters of the cost: ``"terms.1.log_weight"``.
    noise_std : float
        Noise of sampled observations.
    n_windows : int
        Windows, drawn once.
    n_steps : int
        Steps of the parameters at most.
    convexity : float, optional
        Lower bound of the curvature of the cost, where it does not say it itself.
    seed : int
        Of the windows.

    Returns
    -------
    Dataset
        Over ``step``: `loss`, the mean square error in normalised units, and `bound`, by how much it may be off.

    Raises
    ------
    ConfigError
        If there is no such parameter, or the solver or the cost are of another kind.
    """
    if min(n_windows, n_steps) < 1 or (convexity is not None and not convexity > 0):
        raise ConfigError(
            "n_windows and n_steps must be at least 1 and convexity positive, got "
            f"{n_windows}, {n_steps} and {convexity}"
        )
    if isinstance(parameters, str):
        raise ConfigError(f"parameters must be a sequence of names: give [{parameters!r}]")
    model.state_space.check(truth, "the truth")
    space = model.state_space.normalised_by(truth, truth)
    model.normalise(space)
    named = dict(model.assimilator.cost.named_parameters())
    missing = [each for each in parameters if each not in named]
    if missing:
        raise ConfigError(f"the cost has no parameter {missing[0]!r}; there are {', '.join(named)}")
    withheld_only = withholds(observations)
    if withheld_only and noise_std:
        raise ConfigError(
            f"noise_std={noise_std} would observe a truth, and only observations are given: leave it out"
        )
    if withheld_only:
        default = AsMissing.of(truth[[*space.variables]], space.dims[0])
        rule = observations if isinstance(observations, AbstractRule) else default
        source = WindowSource(truth, space, truth, division=Division(rule=rule))
    else:
        source = WindowSource(truth, space, cast("xr.Dataset | AbstractSampler", observations), noise_std)
    windows = TrainingWindows(source, space, n_windows, n_windows, seed, fixed=True)
    # How near a minimum is cannot be told in single precision.
    samples = [in_double(sample) for sample in windows.batches(0, 0, 1)]
    model.assimilator.double()
    try:
        steps = Bilevel(model.assimilator, samples, [named[each] for each in parameters], convexity).run(
            n_steps
        )
    finally:
        model.assimilator.float()
    return xr.Dataset({name: ("step", [getattr(step, name) for step in steps]) for name in ("loss", "bound")})
