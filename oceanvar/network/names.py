"""Names by which the parts of a model look at what its state space knows."""

from oceanvar import registry
from oceanvar.errors import ModelMismatchError
from oceanvar.state.spaces import STATE, StateSpace
from oceanvar.variational.assimilators import Assimilator
from oceanvar.variational.observations import Reader


def check_names(assimilator: Assimilator, space: StateSpace) -> None:
    """Compare the names that the parts look at with those of the state space.

    Raises
    ------
    ModelMismatchError
        If an instrument or a covariate has a name that one of the two does not know.
    """
    parts = [each.reads for each in assimilator.modules() if isinstance(each, Reader)]
    # Parts of a user's own class may look at more than they say.
    is_all_said = registry.is_described(assimilator)
    for kind, read, known, optional in (
        ("instruments", {n for each in parts for n in each.instruments}, space.observing, {STATE}),
        ("covariates", {n for each in parts for n in each.covariates}, space.covariates, set()),
    ):
        unknown = sorted(read - set(known))
        if unknown:
            raise ModelMismatchError(
                f"the model looks at {unknown}, and its state space has the {kind} {sorted(known)}: give it "
                f"{kind}=, or another name to what looks there"
            )
        unread = sorted(set(known) - read - optional)
        if unread and is_all_said:
            raise ModelMismatchError(
                f"the state space has the {kind} {unread}, at which no part of the model looks: give the cost "
                "a term for them, or leave them out"
            )
