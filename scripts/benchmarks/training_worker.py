"""Trains with the oceanvar that PYTHONPATH names: a case a line in, seconds of a step and peak memory a line out."""

import resource
import sys
import time
from functools import cache

import numpy as np

CASES = {
    "ocean 4DVarNet": (10, (1, 1, 25, 64, 64)),
    "LSTM": (10, (1, 1, 15, 160, 160)),
    "U-Net": (0, (4, 1, 25, 64, 64)),
    "small LSTM": (2, (2, 1, 3, 8, 8)),
}
"""Iterations and shape of a batch: an LSTM of 48 hidden channels and a prior of 32 features, or a U-Net alone."""


@cache
def training(case: str):
    """Assimilator, batch, weights of the loss and optimiser of a case, made once."""
    import torch

    import oceanvar
    from oceanvar.network.training_windows import to_sample
    from oceanvar.training.losses import LossWeights

    n_steps, shape = CASES[case]
    patch = dict(zip(("time", "latitude", "longitude"), shape[2:], strict=True))
    space = oceanvar.StateSpace(("ssh",), tuple(patch), patch=patch, mean={"ssh": 0.0}, std={"ssh": 1.0})
    widths = () if n_steps else (48, 96, 192)
    model = oceanvar.presets.fourdvarnet(
        space, n_steps=n_steps, n_features=32, n_hidden=48, start_widths=widths
    )
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 1, shape).astype(np.float32)
    seen = np.where(rng.random(shape) < 0.05, truth, np.float32(np.nan))
    weights = LossWeights() if n_steps else LossWeights(truth_projection=0.0, analysis_projection=0.0)
    optimizer = torch.optim.AdamW(model.assimilator.parameters(), lr=1e-3)
    return model.assimilator, to_sample(truth, seen, space), weights, optimizer


def timed(case: str, precision: str) -> tuple[float, float]:
    """Processor seconds of a step of training, and the peak memory of the process in MiB."""
    import torch

    from oceanvar.training.losses import training_loss

    assimilator, sample, weights, optimizer = training(case)
    start = time.process_time()
    optimizer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        loss, _ = training_loss(assimilator, sample, weights, CASES[case][0])
    loss.backward()
    torch.nn.utils.clip_grad_norm_(assimilator.parameters(), 1.0)
    optimizer.step()
    return time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(memory: str, precision: str) -> None:
    if memory == "kept":
        from oceanvar.allocation import keep_freed_memory

        keep_freed_memory()
    import torch

    torch.set_num_threads(1)
    for line in sys.stdin:
        print(*timed(line.strip(), precision), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
