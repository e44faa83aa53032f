"""Maps that turn with the field, and windows that are turned."""

import numpy as np
import pytest
import torch

from oceanvar.errors import ConfigError
from oceanvar.maps import Chain, GroupAverage, rotation_network
from oceanvar.maps.groups import turned
from oceanvar.maps.turns import GROUPS, Turn
from oceanvar.state import Symmetries
from oceanvar.variational import unet

N = 8
VECTORS, PSEUDO = [(0, 1)], [2]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(3)


def fields() -> torch.Tensor:
    return torch.randn(2, 3, 2, N, N, dtype=torch.float64)


def act(x: torch.Tensor, turn: Turn) -> torch.Tensor:
    return turned(x, turn, VECTORS, PSEUDO)


@pytest.mark.parametrize("group", list(GROUPS))
def test_groups_are_groups(group):
    x = fields()
    members = [act(x, turn) for turn in GROUPS[group]]
    for turn in GROUPS[group]:
        torch.testing.assert_close(act(act(x, turn), turn.inverse), x)
        again = [act(act(x, other), turn) for other in GROUPS[group]]
        assert all(any(torch.equal(a, b) for b in members) for a in again)


@pytest.mark.parametrize("turn", GROUPS["all"])
def test_vectors_turn_as_gradients_and_vorticity_as_a_pseudoscalar(turn):
    """The gradient of a turned scalar is the turned gradient; so is the curl, but for its sign in a mirror image."""
    y, x = (torch.arange(N, dtype=torch.float64) - (N - 1) / 2 for _ in range(2))
    waves = 2 * torch.pi / N
    phase = waves * (2 * x - y.view(-1, 1))

    def gradient(scalar: torch.Tensor) -> torch.Tensor:
        """Central differences on a periodic field: eastward, northward."""
        return torch.stack([(scalar.roll(-1, axis) - scalar.roll(1, axis)) / 2 for axis in (-1, -2)])

    scalar = torch.sin(phase) + torch.cos(waves * y.view(-1, 1))

    def with_vectors(scalar: torch.Tensor) -> torch.Tensor:
        east, north = gradient(scalar)
        u, v = scalar + east, scalar * scalar - north  # a vector that is no gradient
        curl = gradient(v)[0] - gradient(u)[1]
        return torch.stack((u, v, curl)).view(1, 3, 1, N, N)

    plain = turned(scalar.view(1, 1, 1, N, N), turn)[0, 0, 0]
    of_turned = torch.stack((*gradient(plain), plain)).view(1, 3, 1, N, N)
    torch.testing.assert_close(
        of_turned, turned(torch.stack((*gradient(scalar), scalar)).view(1, 3, 1, N, N), turn, [(0, 1)])
    )
    u, v, curl = act(with_vectors(scalar), turn)[0, :, 0]
    torch.testing.assert_close(gradient(v)[0] - gradient(u)[1], curl)


@pytest.mark.parametrize("group", ["mirror_y", "rotations", "all"])
def test_an_averaged_network_turns_with_the_field(group):
    network = unet(3, 3, (4, 8), (3, 3), n_times_folded=2).double()
    average, x = GroupAverage(network, group, VECTORS, PSEUDO), fields()
    for turn in GROUPS[group]:
        torch.testing.assert_close(average(act(x, turn)), act(average(x), turn), atol=1e-12, rtol=0)
    assert (network(act(x, GROUPS[group][1])) - act(network(x), GROUPS[group][1])).abs().max() > 0.01
    value, pullback = average.linearize(x)
    cotangent, tangent = torch.randn_like(value), torch.randn_like(x)
    torch.testing.assert_close(
        (average.jvp(x, tangent) * cotangent).sum(), (tangent * pullback(cotangent)).sum()
    )


def test_a_network_over_the_group_turns_with_the_field_by_its_weights():
    network, x = Chain(*rotation_network(2, 3, [1, 3, 3], n_layers=3)).double(), fields()[:, :2]
    for turn in GROUPS["rotations"]:
        torch.testing.assert_close(network(turned(x, turn)), turned(network(x), turn), atol=1e-12, rtol=0)
    (gradient,) = torch.autograd.grad(network(x).sum(), network.maps[0].weight)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("turn", GROUPS["all"])
def test_arrays_are_turned_as_tensors_are(turn):
    symmetries, names = Symmetries("all", vectors=[("u", "v")], pseudoscalars=["q"]), ["u", "v", "q"]
    x = fields()[0]
    np.testing.assert_array_equal(symmetries.turned(x.numpy(), names, turn), act(x[None], turn)[0])
    # Samples at grid points go where the points go.
    places = np.argwhere(np.ones((2, N, N))).astype(float)
    new = symmetries.places_turned(places, (2, N, N), turn).astype(int)
    scalars = np.arange(2.0 * N * N).reshape(1, 2, N, N)
    np.testing.assert_array_equal(symmetries.turned(scalars, ["h"], turn)[0][tuple(new.T)], scalars.ravel())


def test_clear_errors():
    with pytest.raises(ConfigError, match="group must be one of"):
        GroupAverage(torch.nn.Identity(), "turns")
    with pytest.raises(ConfigError, match="quarter turns need square fields"):
        turned(torch.zeros(1, 1, 1, 4, 6), Turn(1, False))
    with pytest.raises(ConfigError, match="4 x 6 points: use mirrors"):
        Symmetries("rotations").check(["h"], (3, 4, 6))
    with pytest.raises(ConfigError, match=r"name the variable 'q', and the model has \['h'\]"):
        Symmetries("mirrors", pseudoscalars=["q"]).check(["h"], (3, 4, 4))
    with pytest.raises(ConfigError, match="turn two axes of space, and a patch has 1"):
        Symmetries("mirrors").check(["h"], (3, 4))
