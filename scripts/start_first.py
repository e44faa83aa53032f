"""How the experiments on real data train a 4DVarNet: its start first, the iterations later."""

from pathlib import Path
from typing import Any

import xarray as xr

import oceanvar
from oceanvar.observing import AbstractSampler
from oceanvar.training import LossWeights


def start_first(
    model: oceanvar.VarNet,
    truth: xr.Dataset,
    sampler: AbstractSampler,
    out: Path,
    *,
    n_epochs: int,
    start_share: float,
    **settings: Any,
) -> oceanvar.VarNet:
    """Train with checkpoints and history in a folder; `start_share` of the epochs go without iterations."""
    first_with_iterations = max(1, round(start_share * n_epochs))
    history = truth.varnet.fit(
        model,
        sampler,
        n_epochs=n_epochs,
        batch_size=8,
        learning_rate=2e-3,
        n_steps={0: 0, first_with_iterations: model.assimilator.n_steps},
        weights=LossWeights(1.0, 0.05, 0.05, start=0.5),
        precision="bfloat16",
        checkpoint=out / "checkpoints",
        resume=True,
        progress=True,
        **settings,
    )
    history.to_netcdf(out / "history.nc")
    return model
