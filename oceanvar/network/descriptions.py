"""What a model says of itself: what it maps, on what it was trained, how good it is, how to use it."""

from collections.abc import Mapping
from typing import Any

from oceanvar.reprs import Rows, listed
from oceanvar.state.spaces import STATE, StateSpace

INTERVAL = "(95 %"
"""What every score of a card has in it."""


def described(space: StateSpace, provenance: Mapping[str, Any], n_parameters: int) -> Rows:
    """Rows about a model.

    Parameters
    ----------
    space : StateSpace
        What it maps.
    provenance : mapping
        How it came about, with the card of a packaged one.
    n_parameters : int
        Numbers that it may learn.
    """
    units = [f"{name} [{space.units.get(name, 'units not known')}]" for name in space.variables]
    steps = {dim: f" x {axis}".removesuffix(" 1") for dim, axis in space.axes.items()}
    window = [f"{dim} {space.patch[dim]}{steps.get(dim, '')}" for dim in space.dims]
    state = f"{listed(space.variables, 3)} over {', '.join(space.dims)}"
    rows = [
        ("variables", listed(units)),
        ("window", ", ".join(window)),
        ("overlap", listed(f"{dim} {n}" for dim, n in space.overlap.items()) or "none"),
    ]
    also = [_instrument(name, space) for name in space.instruments if name != STATE]
    also += [f"covariate {name}" for name in space.covariates]
    if also:
        rows.append(("also reads", listed(also)))
    return [
        *rows,
        ("trained on", _trained_on(space, provenance)),
        *_scores(provenance.get("card", {})),
        ("parameters", f"{n_parameters:,}"),
        ("to use it", f"obs.varnet.assimilate(model), where obs has {state}, NaN where nothing was observed"),
        ("its parts", "model.assimilator, model.state_space, model.provenance"),
    ]


def _instrument(name: str, space: StateSpace) -> str:
    instrument = space.instruments[name]
    if not instrument.bias:
        return f"instrument {name}"
    if instrument.bias is True:
        return f"instrument {name} (bias: found by fit)"
    pairs = zip(instrument.bias, instrument.scales, strict=True)
    told = [f"{bias:+.3g} {space.units.get(scale, '')}".rstrip() for bias, scale in pairs]
    return f"instrument {name} (bias {', '.join(told)}, taken off)"


def _trained_on(space: StateSpace, provenance: Mapping[str, Any]) -> str:
    card, training = provenance.get("card", {}), provenance.get("training", {})
    epochs = f"{training['n_epochs']} epochs" if "n_epochs" in training else ""
    date = str(card.get("date", training.get("date", "")))
    told = ", ".join(filter(None, (str(card.get("data", "")), epochs, date)))
    if told:
        return told
    return "not told" if space.mean is not None else "nothing yet: truth.varnet.fit(model, observations)"


def _scores(card: Mapping[str, Any]) -> Rows:
    """The last two scores of a card: the model is the last of its rows."""
    scores = [f"{name}: {value}" for name, value in card.items() if INTERVAL in str(value)]
    return [("score" if not number else "", each) for number, each in enumerate(scores[-2:])]
