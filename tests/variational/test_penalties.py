"""Penalties: derivatives, groups, parameters."""

import pytest
import torch

from oceanvar.errors import ConfigError
from oceanvar.maps import Gradient
from oceanvar.variational import (
    GemanMcClure,
    Grouped,
    Huber,
    LogLorentz,
    MapTerm,
    Observations,
    ObservationTerm,
    PerChannel,
    SmoothedL1,
    Squared,
)

ALL = [
    Squared(),
    SmoothedL1(0.3),
    Huber(0.3),
    LogLorentz(0.3),
    GemanMcClure(0.3),
    Grouped(SmoothedL1(0.3), 2),
    Grouped(Huber(0.3)),
    PerChannel(Squared(), Huber(0.2), LogLorentz(0.5), SmoothedL1(0.1)),
]


def residual() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(3, 4, 5, dtype=torch.float64)


@pytest.mark.parametrize("penalty", ALL, ids=lambda each: type(each).__name__)
def test_derivatives_are_those_of_the_values(penalty):
    r = residual().requires_grad_()
    (expected,) = torch.autograd.grad(penalty.value(r).sum(), r)
    torch.testing.assert_close(penalty.derivative(r), expected)
    assert (penalty.curvature(r) >= 0).all()


@pytest.mark.parametrize("penalty", ALL, ids=lambda each: type(each).__name__)
def test_nothing_is_not_a_number_where_the_residual_is_zero(penalty):
    r = torch.zeros(2, 4, 3, requires_grad=True)
    value = penalty.value(r)
    (slope,) = torch.autograd.grad(value.sum(), r)
    assert not value.any()
    assert not slope.any()
    assert penalty.curvature(r).isfinite().all()
    assert not penalty.derivative(r).any()


@pytest.mark.parametrize("penalty", [Huber(0.3), LogLorentz(0.3), GemanMcClure(0.3), Grouped(Huber(0.3), 2)])
def test_the_squared_penalty_that_touches_lies_above(penalty):
    """Half-quadratic: rho(r) + c (s^2 - r^2) / 2 >= rho(s), summed over a group."""
    r, s = residual(), residual().flip(0) * 2
    above = penalty.value(r) + penalty.curvature(r) * (s.square() - r.square()) / 2
    assert (above.sum(1) >= penalty.value(s).sum(1) - 1e-12).all()


def test_groups_make_the_norm_of_a_vector():
    vectors = torch.tensor([[3.0, 0.0, 4.0, 2.0]]).unsqueeze(-1)  # (3, 4) and (0, 2)
    torch.testing.assert_close(Grouped(Squared(), 2).value(vectors).sum(), torch.tensor(29.0))
    isotropic = Grouped(SmoothedL1(1e-6), 2).value(vectors).sum()
    torch.testing.assert_close(isotropic, torch.tensor(7.0), rtol=1e-5, atol=0)


def test_isotropic_variation_is_the_same_when_turned():
    torch.manual_seed(1)
    x = torch.randn(1, 1, 1, 6, 6, dtype=torch.float64)
    x[..., -1, :] = x[..., -2, :]  # no difference at the far ends, whichever way it is looked at
    x[..., :, -1] = x[..., :, -2]
    term = MapTerm(Gradient([1, 2], [True, True]), penalty=Grouped(Huber(0.1)))
    obs = Observations.from_nan(x)
    torch.testing.assert_close(term.cost(x.mT.contiguous(), obs), term.cost(x, obs))


def test_a_size_is_learned_and_stays_positive():
    penalty = Huber(0.5, trainable=True)
    (parameter,) = penalty.parameters()
    penalty.value(torch.full((1, 1), 2.0)).sum().backward()
    # d/d(log eps) of eps (2 |r| - eps)
    torch.testing.assert_close(parameter.grad, torch.tensor(0.5 * (4 - 2 * 0.5)))
    assert not list(Huber(0.5).parameters())


def test_clear_errors():
    with pytest.raises(ConfigError, match="eps must be positive"):
        Huber(0.0)
    with pytest.raises(ConfigError, match="do not make 3 groups"):
        Grouped(Squared(), 3).value(residual())
    with pytest.raises(ConfigError, match="takes one on single residuals"):
        Grouped(Grouped(Squared()))
    with pytest.raises(ConfigError, match="2 penalties for 4 channels"):
        PerChannel(Squared(), Squared()).value(residual())
    with pytest.raises(ConfigError, match="error variances differ"):
        MapTerm(Gradient([1, 2]), penalty=Grouped(Squared()), variances=[1.0, 2.0])
    with pytest.raises(ConfigError, match="penalty of a term"):
        MapTerm(Gradient([1, 2]), penalty="huber")


def test_what_was_not_observed_has_no_part_in_the_norm_of_a_group():
    term = ObservationTerm(penalty=Grouped(Huber(0.1)))
    obs = Observations.from_nan(torch.tensor([1.0, torch.nan]).view(1, 2, 1, 1, 1))
    near, far = (term.at(torch.tensor([0.0, v]).view(1, 2, 1, 1, 1), obs).gradient for v in (0.0, 50.0))
    torch.testing.assert_close(near, far)
    assert near[0, 0] != 0
