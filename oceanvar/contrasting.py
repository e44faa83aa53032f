"""Learn the energy of a cost from two unpaired archives: what fields should look like, and what they should not."""

import numpy as np
import xarray as xr

from oceanvar.errors import ConfigError
from oceanvar.network.training_windows import TrainingWindows
from oceanvar.network.varnet import VarNet
from oceanvar.state.windows import WindowSource
from oceanvar.training.critics import train_critic


def fit_energy(
    model: VarNet,
    plausible: xr.Dataset,
    implausible: xr.Dataset,
    *,
    n_steps: int = 1000,
    batch_size: int = 16,
    learning_rate: float = 1e-3,
    penalty: float = 10.0,
    seed: int = 0,
) -> xr.Dataset:
    """Train the energy of a model's cost in place to be low for fields that are as they should be, and high for others.

    No observation and no truth of the same place and time is needed: fields of an ocean model, say, against maps by
    interpolation. The weight of the term is left as it is.

    Parameters
    ----------
    model : VarNet
        Model with one `oceanvar.variational.EnergyTerm`. Its normalisation comes from `plausible` unless its state
        space has one.
    plausible, implausible : Dataset
        Fields with the variables of the model, in memory or lazy; NaN counts as the mean.
    n_steps : int
        Gradient steps.
    batch_size : int
        Windows of each kind in a step.
    learning_rate : float
        Of Adam.
    penalty : float
        Weight of what keeps the slope of the energy at most 1.
    seed : int
        Of the windows.

    Returns
    -------
    Dataset
        Over ``step``: `distance`, the difference of the mean energies per point, which estimates the distance of
        Wasserstein between the two kinds in normalised units, and `slope` of the energy between them.

    Raises
    ------
    ConfigError
        If the cost has no such term, or several.
    MissingVariableError, GridMismatchError, PatchError
        Where fields are not what the model expects.
    """
    terms = model.assimilator.cost.energies
    if len(terms) != 1:
        raise ConfigError(f"fit_energy trains one EnergyTerm, and the cost of the model has {len(terms)}")
    if min(n_steps, batch_size) < 1 or not learning_rate > 0 or not penalty > 0:
        raise ConfigError(
            "n_steps and batch_size must be at least 1, learning_rate and penalty positive; got "
            f"{n_steps}, {batch_size}, {learning_rate} and {penalty}"
        )
    for fields, what in ((plausible, "the plausible fields"), (implausible, "the implausible fields")):
        model.state_space.check(fields, what)
    space = model.state_space.normalised_by(plausible, plausible)
    model.normalise(space)
    sources = [WindowSource(ds[[*space.variables]], space, ds) for ds in (plausible, implausible)]
    windows = [
        TrainingWindows(source, space, max(source.n_windows, batch_size), batch_size, seed + i)
        for i, source in enumerate(sources)
    ]
    records = train_critic(
        terms[0].energy_map,
        *windows,
        n_steps=n_steps,
        learning_rate=learning_rate,
        penalty=penalty,
        seed=seed,
    )
    distance, slope = np.array(records, dtype=np.float64).reshape(-1, 2).T
    return xr.Dataset({"distance": ("step", distance), "slope": ("step", slope)})
