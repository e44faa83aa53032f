"""Layouts change where values lie, and nothing else; gradients lie as fields do on their side."""

import pytest
import torch

from oceanvar.maps.layouts import inside, outside


def is_last(x: torch.Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 1, 4, 5), (1, 3, 1, 1)])
def test_the_layout_changes_alone(shape):
    x = torch.randn(shape)
    for field in (x, x.mT.contiguous().mT, inside(x)):
        assert torch.equal(inside(field), x)
        assert is_last(inside(field))
        assert torch.equal(outside(inside(field)), x)
        assert outside(inside(field)).is_contiguous()


def test_gradients_lie_as_fields_do_on_their_side():
    x = torch.randn(2, 3, 4, 5, requires_grad=True)
    within = inside(x)
    value = outside(within)
    onto_within, onto_x = torch.autograd.grad(value, (within, x), torch.randn(2, 3, 4, 5))
    assert is_last(onto_within)
    assert onto_x.is_contiguous()
    assert torch.equal(onto_x, onto_within)


def test_a_single_window_that_is_laid_out_keeps_its_strides():
    """A convolution takes the layout of its argument by them, also of the axis that has one entry."""
    x = inside(torch.randn(1, 3, 4, 5))
    assert inside(x).stride() == x.stride()


@pytest.mark.parametrize(
    "x", [torch.randn(2, 3, 4, 5, 6), torch.randn(2, 3, 4), torch.randn(2, 3, 4, 5).double()]
)
def test_what_gains_nothing_stays_as_it_is(x):
    assert inside(x) is x
    assert outside(x) is x


def test_both_ways_are_differentiable_twice_and_forwards():
    x, v = torch.randn(2, 3, 4, 5, requires_grad=True), torch.randn(2, 3, 4, 5)
    (slope,) = torch.autograd.grad(outside(inside(x).pow(3)).sum(), x, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), x)
    torch.testing.assert_close(curvature, 6 * x.detach())
    _, pushed = torch.func.jvp(lambda y: outside(inside(y).square()), (x.detach(),), (v,))
    torch.testing.assert_close(pushed, 2 * x.detach() * v)
    jacobian = torch.func.jacrev(lambda y: outside(inside(y).square()))(x.detach()).view(x.numel(), -1)
    torch.testing.assert_close(jacobian, (2 * x.detach()).flatten().diag())
