"""A part of the wrong kind, signature or shape is refused in our words, when it is handed in or first called."""

import pytest
import torch

from oceanvar.errors import ConfigError
from oceanvar.maps import AbstractMap, Identity
from oceanvar.variational import (
    AbstractOperator,
    AbstractSolver,
    AbstractStart,
    Annealed,
    Assimilator,
    BackgroundTerm,
    BlockAverage,
    DynamicsTerm,
    GradientDescent,
    ObservationTerm,
    PriorTerm,
    Select,
    Sequential,
    VariationalCost,
    WithCost,
)
from tests.variational.problems import observations

COST, SOLVER, LINEAR = VariationalCost(ObservationTerm()), GradientDescent(1.0), torch.nn.Linear(2, 2)
MAP = r"a Linear: make it .* derived from oceanvar\.maps\.base\.AbstractMap, of which forward is all it needs"
OPERATOR = r"oceanvar\.variational\.operators\.base\.AbstractOperator, of which bind is all it needs"
A_SOLVER = r"oceanvar\.variational\.solvers\.base\.AbstractSolver, of which init and step are all it needs"

KINDS = {
    "prior": (lambda: PriorTerm(LINEAR), f"the prior of PriorTerm is {MAP}"),
    "prior_as_a_class": (lambda: PriorTerm(Identity), "the prior of PriorTerm is the class Identity itself"),
    "step": (lambda: DynamicsTerm(LINEAR), f"the step of DynamicsTerm is {MAP}"),
    "operator": (lambda: ObservationTerm(LINEAR, "radar"), f"observations 'radar' is {MAP} or .*{OPERATOR}"),
    "whitening": (lambda: BackgroundTerm(LINEAR), f"the whitening of BackgroundTerm is {MAP}"),
    "term": (lambda: VariationalCost(Identity()), "a term of VariationalCost is a Identity"),
    "solver": (lambda: Assimilator(COST, torch.optim.SGD, 3), f"is the class SGD itself: .*{A_SOLVER}"),
    "sequential": (lambda: Sequential((LINEAR, 3)), f"a solver of Sequential is a Linear.*{A_SOLVER}"),
    "annealed": (lambda: Annealed(LINEAR, [1.0], 3), f"the solver of Annealed is a Linear.*{A_SOLVER}"),
    "with_cost": (lambda: WithCost(COST, LINEAR), f"the solver of WithCost is a Linear.*{A_SOLVER}"),
    "start": (
        lambda: Assimilator(COST, SOLVER, 3, LINEAR),
        "the start of an Assimilator is a Linear.*Start, of",
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_part_of_the_wrong_kind_is_refused_where_it_is_handed_in(name):
    make, message = KINDS[name]
    with pytest.raises(ConfigError, match=message):
        make()


class TwoArguments(AbstractMap):
    def forward(self, x, t):
        return x * t


class NoCarry(AbstractSolver):
    def init(self, cost, obs, state):
        return None

    def step(self, cost, obs, state):
        return state


class NoName(AbstractOperator):
    def bind(self, obs):
        return Identity()


class NoObservations(AbstractStart):
    def forward(self):
        return torch.zeros(1, 1, 3)


SIGNATURES = {
    "prior": (lambda: PriorTerm(TwoArguments()), r"called as forward\(self, x\).*TwoArguments.forward.*'t'"),
    "solver": (lambda: Assimilator(COST, NoCarry(), 3), r"step\(self, cost, obs, state, carry\).*too many"),
    "operator": (lambda: ObservationTerm(NoName()), r"bind\(self, obs, name\), and NoName.bind cannot"),
    "start": (lambda: Assimilator(COST, SOLVER, 3, NoObservations()), r"forward\(self, obs\)"),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_method_with_other_arguments_is_refused_where_it_is_handed_in(name):
    make, message = SIGNATURES[name]
    with pytest.raises(ConfigError, match=message):
        make()


class Bare(AbstractSolver):
    def init(self, cost, obs, state):
        return None

    def step(self, cost, obs, state, carry):
        return state


class Shortening(Bare):
    def step(self, cost, obs, state, carry):
        return state[:, :, 1:], carry


def assimilator(*terms, solver: AbstractSolver = SOLVER) -> Assimilator:
    return Assimilator(VariationalCost(*terms), solver, 2)


SHAPES = {
    # One variable of two would have been spread over both without a word.
    "prior": (
        assimilator(ObservationTerm(), PriorTerm(Select([0]))),
        r"what Select makes of a state has the shape \(3, 1, 7, 3\).* that of the state, \(3, 2, 7, 3\)",
    ),
    "step": (assimilator(DynamicsTerm(Select([1]))), r"Select has the shape \(3, 1, 6, 3\).*\(3, 2, 6, 3\)"),
    "operator": (
        assimilator(ObservationTerm(BlockAverage([1, 3]))),
        r"BlockAverage makes .* \(3, 2, 7, 1\), it must have that of the observations 'state', \(3, 2, 7, 3\)",
    ),
    "no_carry": (
        assimilator(ObservationTerm(), solver=Bare()),
        "Bare.step gave a Tensor: it must give the next",
    ),
    "solver": (
        assimilator(ObservationTerm(), solver=Shortening()),
        r"the next state of Shortening.step has the shape \(3, 2, 6, 3\).*\(3, 2, 7, 3\)",
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_wrong_shape_is_told_at_the_first_call(name):
    each, message = SHAPES[name]
    obs = observations()
    for call in (each.double().solve, each):
        with pytest.raises(ConfigError, match=message):
            call(obs)
    if "solver" not in name and "carry" not in name:
        with pytest.raises(ConfigError, match=message):
            each.cost(obs.background, obs)
