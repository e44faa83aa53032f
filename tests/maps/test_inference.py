"""Forms of maps for inference: the same values and adjoints, and no memory overwritten that is somebody else's."""

import copy

import pytest
import torch

from oceanvar.maps import AbstractMap, Chain, Conv, FoldTime, Identity, ReLU, SiLU, Sum
from oceanvar.maps.inference import LaidOutConv, inference_form
from oceanvar.variational import two_scale_prior, unet
from tests.maps.test_maps import MAPS

OWN = {
    "wide kernel on a short periodic axis": (lambda: Conv(2, 3, [1, 7], [True, True]), (2, 5, 2)),
    "unet folded": (lambda: unet(2, 2, (4, 6), [3, 3], n_times_folded=3), (2, 3, 7, 9)),
    "unet folded periodic": (lambda: unet(2, 2, (4, 6), [3, 3], [False, True], None, 3), (2, 3, 7, 9)),
    "unet 3-D": (lambda: unet(2, 2, (4, 6), [3, 3, 3]), (2, 4, 6, 5)),
    "two scales folded": (lambda: two_scale_prior(2, 4, [3, 3], [2, 2], n_times_folded=3), (2, 3, 7, 9)),
    "activation of the argument": (lambda: Chain(SiLU(), Conv(2, 2, [3, 3]), ReLU()), (2, 5, 6)),
    "sum after the argument": (
        lambda: Chain(Identity(), ReLU(), Sum(Identity(), Conv(2, 2, [3, 3]))),
        (2, 5, 6),
    ),
}
"""Maps with what the forms are careful about, beside all maps there are."""


@pytest.fixture(params=MAPS | OWN)
def case(request) -> tuple[AbstractMap, AbstractMap, torch.Tensor]:
    torch.manual_seed(0)
    make, shape = (MAPS | OWN)[request.param]
    each = make()
    return each, inference_form(copy.deepcopy(each)), torch.randn(3, *shape)


def assert_near(given: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(given, wanted, rtol=0, atol=1e-5 * float(wanted.detach().abs().max()))


@pytest.mark.parametrize("recording", [False, True])
def test_value_adjoint_and_tangent_are_those_of_the_map(case, recording):
    each, form, x = case
    given, tangent = x.clone(), torch.randn_like(x)
    with torch.set_grad_enabled(recording):
        value = each(x)
        cotangent = torch.randn_like(value)
        first = form(x)
        kept = first.clone()
        again, pullback = form.linearize(x)
        assert_near(first, value)
        assert_near(again, value)
        assert_near(pullback(cotangent), each.vjp(x, cotangent))
        assert_near(form.jvp(x, tangent), each.jvp(x, tangent))
        assert_near(form.pushforward(x)(tangent), each.jvp(x, tangent))
    assert torch.equal(x, given), "the argument is not the form's to overwrite"
    assert torch.equal(first, kept), "a value given is not the form's any more"


def test_pull_backs_and_tangents_of_one_point_can_be_taken_twice(case):
    _, form, x = case
    with torch.no_grad():
        value, pullback = form.linearize(x)
        push, cotangent, tangent = form.pushforward(x), torch.randn_like(value), torch.randn_like(x)
        once = pullback(cotangent), push(tangent)
        form(x)
        assert all(map(torch.equal, once, (pullback(cotangent), push(tangent))))


def test_gradients_by_automatic_differentiation_are_those_of_the_map(case):
    each, form, x = case
    x.requires_grad_()
    value = each(x)
    cotangent = torch.randn_like(value)
    gradients = [torch.autograd.grad(one(x), x, cotangent)[0] for one in (form, each)]
    assert_near(*gradients)


def test_automatic_differentiation_goes_through_forms_where_no_gradient_is_recorded(case):
    each, form, x = case
    tangent = torch.randn_like(x)
    with torch.no_grad():
        value, pushed = torch.func.jvp(form.forward, (x,), (tangent,))
        assert_near(value, each(x))
        assert_near(pushed, each.jvp(x, tangent))


def test_folded_networks_stay_channels_last_between_their_ends():
    net = inference_form(unet(2, 2, (4, 6), [3, 3], n_times_folded=3))
    layouts = []
    for part in net.modules():
        if isinstance(part, LaidOutConv):
            part.register_forward_hook(lambda _, given, value: layouts.append((given[0], value)))
    with torch.no_grad():
        result = net(torch.randn(2, 2, 3, 8, 12))
    is_last = [[x.is_contiguous(memory_format=torch.channels_last) for x in pair] for pair in layouts]
    assert is_last == len(layouts) * [[True, True]]
    assert result.is_contiguous(), "plain arithmetic follows"
    assert isinstance(net, FoldTime)


class Double(AbstractMap):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.double()


def test_sums_broadcast_and_promote_as_elsewhere():
    for other in (Identity(), Double()):
        sum_ = Sum(other, Conv(2, 1, [3, 3]))
        x = torch.randn(2, 2, 5, 6)
        with torch.no_grad():
            assert_near(inference_form(copy.deepcopy(sum_))(x), sum_(x))
