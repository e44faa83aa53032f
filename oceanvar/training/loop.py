"""The training loop: it reads from top to bottom."""

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from tqdm import tqdm

from oceanvar.errors import ConfigError, DivergenceError
from oceanvar.training.ahead import drawn_ahead
from oceanvar.training.checkpoints import load_checkpoint, save_checkpoint
from oceanvar.training.losses import LossWeights, Sample, training_loss, validation_sums
from oceanvar.training.settings import FABRIC_PRECISIONS, SCHEDULES, TrainingSettings
from oceanvar.variational.assimilators import Assimilator

Record = dict[str, Any]


class Run(NamedTuple):
    """What a run of training was like.

    Parameters
    ----------
    records : list of dict
        One per epoch: loss, validation_loss, errors (root mean square errors of validation, by variable, normalised
        units), learning_rate, n_steps, seconds.
    before : dict
        validation_loss and errors of the weights that training began with, with the n_steps of its last epochs.
    """

    records: list[Record]
    before: Record

    @property
    def best_loss(self) -> float:
        """Validation loss of the weights that are kept."""
        return _lowest(self.records, self.before)

    @property
    def kept_epoch(self) -> int:
        """Number of the epoch whose weights are kept, from 1; 0 for the weights that training began with."""
        best, n_steps = self.best_loss, self.records[-1]["n_steps"]
        if not math.isfinite(best):
            return len(self.records)
        numbered = enumerate(self.records, start=1)
        alike = [i for i, one in numbered if one["n_steps"] == n_steps and one["validation_loss"] == best]
        return alike[-1] if alike else 0


OnBetter = Callable[[Run], None]
"""What is done with the run so far after each epoch whose weights are the best so far."""


class Samples(Protocol):
    """Source of training windows: the same for the same epoch and share, whatever happened before."""

    def n_batches(self, n_ranks: int) -> int:
        """Batches of each process in an epoch."""

    def batches(self, epoch: int, rank: int, n_ranks: int) -> Iterable[Sample]:
        """Batches of one epoch for process `rank` of `n_ranks`."""


class _Whole:
    """A batch that Fabric hands on as it is: of tuples and dataclasses it would round every tensor to bfloat16.

    A position of 63.2 points would become 63.25, and what is learned from would lose digits too.
    """

    def __init__(self, sample: Sample):
        self.sample = sample


class _Objective(nn.Module):
    """Loss and error as a module, so that a wrapper for several processes sees one call; validation sums in `eval`."""

    def __init__(self, assimilator: Assimilator, weights: LossWeights):
        super().__init__()
        self.assimilator = assimilator
        self.weights = weights

    def forward(self, batch: _Whole, n_steps: int) -> tuple[Tensor, Tensor] | Tensor:
        asked = training_loss if self.training else validation_sums
        return asked(self.assimilator, batch.sample, self.weights, n_steps)


def train(
    assimilator: Assimilator,
    training: Samples,
    validation: Samples | None,
    settings: TrainingSettings,
    folder: Path | None = None,
    resume: bool = False,
    progress: bool = False,
    on_better: OnBetter | None = None,
) -> Run:
    """Train an assimilator in place; it ends with the weights of the best validation loss.

    Only epochs with as many iterations as the last one count: before, the solver was not trained for them. Where none
    of them is as good as the weights that training began with, these are kept: a good model can only get better.

    Parameters
    ----------
    assimilator : Assimilator
        Model to train.
    training, validation : Samples
        Sources of windows. Without validation the last weights are kept.
    settings : TrainingSettings
        Choices of the run.
    folder : Path, optional
        Where ``last.ckpt`` and ``best.ckpt`` go after every epoch.
    resume : bool
        Continue from ``last.ckpt`` where there is one; the weights end as those of an unbroken run.
    progress : bool
        Show a bar with loss and time left.
    on_better : callable, optional
        Called with the run so far after each epoch whose weights are the best, while the assimilator has them; by the
        first process only.

    Returns
    -------
    Run
        Records of the epochs, and of what was before.
    """
    kind, _, number = settings.device.partition(":")
    fabric = Fabric(
        accelerator={"cuda": "gpu"}.get(kind, kind),
        devices=[int(number)] if number else settings.n_processes,
        strategy="auto" if settings.n_processes == 1 else "ddp_spawn",
        precision=FABRIC_PRECISIONS[settings.precision],  # type: ignore[arg-type]
    )
    job = partial(
        _run,
        assimilator=assimilator,
        training=training,
        validation=validation,
        settings=settings,
        folder=folder,
        resume=resume,
        progress=progress,
        on_better=on_better,
    )
    with _frozen(assimilator, settings.freeze):
        weights, run = (
            job(fabric) if settings.n_processes == 1 else fabric.launch(partial(_one_of_several, job))
        )
    assimilator.to("cpu")
    assimilator.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    return run


def _one_of_several(job: Callable[[Fabric], Any], fabric: Fabric) -> Any:
    """Part from the other processes before this one ends: one that ends with open connections is aborted at times."""
    result = job(fabric)
    fabric.barrier()
    torch.distributed.destroy_process_group()
    return result


def _run(
    fabric: Fabric,
    assimilator: Assimilator,
    training: Samples,
    validation: Samples | None,
    settings: TrainingSettings,
    folder: Path | None,
    resume: bool,
    progress: bool,
    on_better: OnBetter | None,
) -> tuple[dict[str, np.ndarray], Run]:
    optimizer = _optimizer(assimilator, settings)
    model, optimizer = fabric.setup(_Objective(assimilator, settings.weights), optimizer)
    records: list[Record] = []
    if resume and folder is not None and (folder / "last.ckpt").exists():
        content = load_checkpoint(folder / "last.ckpt", _fingerprint(settings))
        assimilator.load_state_dict(content["weights"])
        optimizer.load_state_dict(content["optimizer"])
        records, best, start, before = (content[each] for each in ("records", "best", "start", "before"))
    else:
        best = start = _weights(assimilator)
        n_steps = settings.solver_steps(settings.n_epochs - 1, assimilator.n_steps)
        before = _validate(fabric, model, validation, n_steps) | {"n_steps": n_steps}
    first = len(records)
    bar = tqdm(range(first, settings.n_epochs), disable=not progress or fabric.global_rank > 0, unit="epoch")
    for epoch in bar:
        if _is_over(records, settings):
            break
        began = time.perf_counter()
        record = _epoch(fabric, model, optimizer, training, settings, records)
        record |= _validate(fabric, model, validation, record["n_steps"])
        # The same in all processes: the learning rate may depend on it.
        record["seconds"] = _mean(fabric, [torch.tensor(time.perf_counter() - began, device=fabric.device)])
        if not math.isfinite(record["loss"]):
            raise DivergenceError(
                f"the training loss became {record['loss']} in epoch {epoch}: "
                "lower learning_rate, or look for infinite values in the truth"
            )
        records.append(record)
        if validation is None or record["validation_loss"] <= _lowest(records, before):
            best = _weights(assimilator)
            if on_better is not None and fabric.global_rank == 0:
                on_better(Run(records, before))
        elif not Run(records, before).kept_epoch:
            best = start
        bar.set_postfix(loss=f"{record['loss']:.3g}", validation=f"{record['validation_loss']:.3g}")
        if folder is not None and fabric.global_rank == 0:
            kept = {"best": best, "start": start, "before": before, "records": records}
            _checkpoint(folder, assimilator, optimizer, kept, settings)
    # Arrays, not tensors: a tensor sent between processes lives in memory that ends with its sender.
    return {name: tensor.numpy() for name, tensor in best.items()}, Run(records, before)


@contextmanager
def _frozen(assimilator: Assimilator, freeze: Sequence[str]) -> Iterator[None]:
    """Keep the weights of some parts as they are for a while."""
    named = dict(assimilator.named_parameters())
    for part in freeze:
        if not any(_is_part(name, part) for name in named):
            parts = sorted({name[: name.rfind(".")] if "." in name else name for name in named})
            raise ConfigError(f"freeze names {part!r}, and no weight begins so: there are {', '.join(parts)}")
    frozen = [each for name, each in named.items() if any(_is_part(name, part) for part in freeze)]
    if named and len(frozen) == len(named):
        raise ConfigError(f"freeze={list(freeze)} leaves nothing to train")
    frozen = [each for each in frozen if each.requires_grad]
    for each in frozen:
        each.requires_grad_(False)
    try:
        yield
    finally:
        for each in frozen:
            each.requires_grad_()


def _is_part(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")


def _optimizer(assimilator: Assimilator, settings: TrainingSettings) -> torch.optim.Optimizer:
    """AdamW with a rate of its own for Phi."""
    of_priors = {id(p) for term in assimilator.cost.priors for p in term.prior.parameters()}
    trainable = [p for p in assimilator.parameters() if p.requires_grad]
    return torch.optim.AdamW(
        [
            {"params": [p for p in trainable if id(p) not in of_priors], "factor": 1.0},
            {"params": [p for p in trainable if id(p) in of_priors], "factor": settings.prior_rate},
        ],
        lr=settings.learning_rate,
        weight_decay=1e-5,
    )


def _epoch(
    fabric: Fabric,
    model: Any,
    optimizer: Any,
    training: Samples,
    settings: TrainingSettings,
    records: list[Record],
) -> Record:
    model.train()
    epoch = len(records)
    begin, end = settings.progress(epoch, [each["seconds"] for each in records])
    n_steps = settings.solver_steps(epoch, model.assimilator.n_steps)
    n_batches = training.n_batches(fabric.world_size)
    losses = []
    batches = drawn_ahead(training.batches(epoch, fabric.global_rank, fabric.world_size))
    for i, sample in enumerate(batches):
        rate = settings.learning_rate * min(1.0, (epoch * n_batches + i + 1) / settings.n_warmup)
        rate *= SCHEDULES[settings.schedule](begin + (end - begin) * i / n_batches)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        optimizer.zero_grad()
        loss, error = model(_to(sample, fabric.device), n_steps)
        fabric.backward(loss)
        fabric.clip_gradients(model, optimizer, max_norm=settings.clip, error_if_nonfinite=False)
        optimizer.step()
        losses.append(error)
    return {"loss": _mean(fabric, losses), "learning_rate": rate, "n_steps": n_steps}


def _validate(fabric: Fabric, model: Any, validation: Samples | None, n_steps: int) -> Record:
    """Mean square error on the validation windows, and its root for each variable; NaN without validation."""
    if validation is None:
        return {"validation_loss": math.nan, "errors": []}
    model.eval()
    with torch.no_grad():
        batches = validation.batches(0, fabric.global_rank, fabric.world_size)
        sums = sum(model(_to(sample, fabric.device), n_steps) for sample in batches)
    squares, weights = fabric.all_reduce(sums, reduce_op="sum").tolist()  # type: ignore[union-attr]
    means = [square / weight if weight else math.nan for square, weight in zip(squares, weights, strict=True)]
    return {"validation_loss": means[0], "errors": [math.sqrt(each) for each in means[1:]]}


def _to(sample: Sample, device: torch.device) -> _Whole:
    return _Whole(Sample(sample.truth.to(device), sample.known.to(device), sample.obs.to(device)))


def _mean(fabric: Fabric, values: list[Tensor]) -> float:
    total = torch.stack(
        [torch.stack(values).sum(), torch.tensor(float(len(values)), device=values[0].device)]
    )
    total = fabric.all_reduce(total, reduce_op="sum")  # type: ignore[assignment]
    return float(total[0] / total[1])


def _lowest(records: list[Record], before: Record | None = None) -> float:
    """Lowest validation loss of the epochs with as many iterations as the last one, or before, if that counts.

    The solver is untrained in epochs without iterations: their weights never serve with them.
    """
    lowest = min(_losses(records, int(records[-1]["n_steps"])))
    return min(lowest, before["validation_loss"]) if before and _counts(before, records) else lowest


def _counts(before: Record, records: list[Record]) -> bool:
    """Whether the loss before training is one to compare with: a solver that diverges has none."""
    return before["n_steps"] == records[-1]["n_steps"] and math.isfinite(before["validation_loss"])


def _is_over(records: list[Record], settings: TrainingSettings) -> bool:
    """Whether the budget is spent, or no validation loss got better for `patience` epochs with the final iterations."""
    if settings.is_spent([each["seconds"] for each in records]):
        return True
    if settings.patience is None or not records:
        return False
    losses = _losses(records, settings.solver_steps(settings.n_epochs - 1, int(records[-1]["n_steps"])))
    return bool(losses) and len(losses) - 1 - losses.index(min(losses)) >= settings.patience


def _losses(records: list[Record], n_steps: int) -> list[float]:
    """Validation losses of the epochs with a number of iterations."""
    return [record["validation_loss"] for record in records if record["n_steps"] == n_steps]


def _weights(assimilator: Assimilator) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in assimilator.state_dict().items()}


def _fingerprint(settings: TrainingSettings) -> str:
    """What a resumed run must share; one that its budget has ended may go on with more."""
    return str(replace(settings, budget=None))


def _checkpoint(
    folder: Path, assimilator: Assimilator, optimizer: Any, kept: dict[str, Any], settings: TrainingSettings
) -> None:
    content = {
        "weights": _weights(assimilator),
        "optimizer": copy.deepcopy(optimizer.state_dict()),
        **kept,
        "settings": _fingerprint(settings),
    }
    save_checkpoint(folder / "last.ckpt", content)
    records = kept["records"]
    if records[-1]["validation_loss"] <= _lowest(records, kept["before"]):
        save_checkpoint(folder / "best.ckpt", {"weights": kept["best"], "records": records})
