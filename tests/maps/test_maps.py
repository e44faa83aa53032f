import pytest
import torch

from oceanvar.dynamics import QuasiGeostrophic
from oceanvar.errors import ConfigError
from oceanvar.maps import (
    AbstractMap,
    AveragePool,
    ByDistance,
    Chain,
    Concatenate,
    Conv,
    Dense,
    Filtered,
    FirstAndLater,
    Flattened,
    FoldSteps,
    FoldTime,
    GaussianFilter,
    Identity,
    OnGrid,
    PadToMultiple,
    Product,
    ReLU,
    Shifted,
    SiLU,
    Sum,
    TimeByTime,
    ToNormalised,
    ToPhysical,
    Upsample,
    gaussian_spread,
    in_physical_units,
    spread_of,
)
from oceanvar.maps.units import scaled_parts
from oceanvar.variational import (
    BeamAverage,
    BlockAverage,
    Calibration,
    EOFPrior,
    FlowPrior,
    Forecast,
    Select,
    SpeedAndDirection,
    autoencoder_prior,
    bilinear_tendency,
    residual_step,
    two_scale_prior,
    unet,
)
from oceanvar.variational.operators.tracks import AtPositions


def physical_units() -> AbstractMap:
    return scaled(in_physical_units(Chain(Conv(2, 2, [1]), SiLU()), 2))


def scaled(units: AbstractMap) -> AbstractMap:
    for part in scaled_parts(units):
        part.set_([1.0, -2.0], [3.0, 0.5])
    return units


def calibration() -> AbstractMap:
    sensor = Calibration(2)
    sensor.gain.data.copy_(torch.tensor([1.5, -0.5]))
    sensor.bias.data.copy_(torch.tensor([0.3, 2.0]))
    return sensor


def scattered() -> AbstractMap:
    """Also on points, on borders, beyond them, and twice at one place."""
    positions = torch.rand(3, 9, 3, dtype=torch.float64) * torch.tensor([3.0, 4.0, 5.0])
    positions[:, 0] = torch.tensor([1.0, 2.0, 3.0])
    positions[:, 1] = torch.tensor([-0.4, 3.0, 6.0])
    positions[:, 2] = positions[:, 3]
    return AtPositions(positions)


def eof() -> AbstractMap:
    return EOFPrior((1, 3, 4), 2).fit_(torch.randn(9, 1, 3, 4))


MAPS = {
    "conv1d": (lambda: Conv(2, 3, [5], bias=True), (2, 9)),
    "conv2d_periodic": (lambda: Conv(2, 3, [3, 5], [False, True]), (2, 6, 7)),
    "conv_wraps_more_than_once": (lambda: Conv(1, 1, [7], [True]), (1, 2)),
    "conv3d": (lambda: Conv(1, 2, [3, 3, 1], [True, False, False]), (1, 4, 5, 3)),
    "pool": (lambda: AveragePool([2, 3]), (2, 4, 6)),
    "upsample": (lambda: Upsample(3, 2, [2, 3]), (3, 4, 5)),
    "relu": (ReLU, (2, 7)),
    "silu": (SiLU, (2, 7)),
    "identity": (Identity, (2, 7)),
    "product": (lambda: Product(SiLU(), Conv(2, 2, [3])), (2, 7)),
    "concatenate": (lambda: Concatenate(SiLU(), Conv(2, 3, [3])), (2, 7)),
    "sum": (lambda: Sum(Identity(), Conv(2, 2, [3]), SiLU()), (2, 7)),
    "pad_replicate": (lambda: PadToMultiple(Chain(AveragePool([4]), Upsample(2, 2, [4])), [4]), (2, 7)),
    "pad_periodic": (
        lambda: PadToMultiple(Conv(1, 1, [3, 3], [False, True]), [2, 4], [False, True]),
        (1, 4, 6),
    ),
    "fold_steps": (lambda: FoldSteps(Conv(6, 6, [3, 3]), 3), (2, 6, 4)),
    "fold_time": (lambda: FoldTime(Conv(6, 6, [3])), (2, 3, 5)),
    "gaussian_filter": (lambda: GaussianFilter([0.7, 2.0]), (2, 5, 6)),
    "by_distance": (lambda: ByDistance([3.0, 2.0, 1.0]), (1, 2, 7, 4)),
    "first_and_later": (lambda: FirstAndLater(SiLU(), Conv(2, 2, [1, 3])), (2, 4, 5)),
    "time_by_time": (lambda: TimeByTime(Chain(Conv(2, 3, [3], bias=True), SiLU())), (2, 3, 5)),
    "residual_step": (lambda: residual_step(2, (4, 6), [3, 3], [False, True]), (2, 3, 6, 4)),
    "bilinear_tendency": (lambda: bilinear_tendency(1, 3, [5], [True]), (1, 3, 6)),
    "bilinear_tendency_without_space": (lambda: bilinear_tendency(3, 4, []), (3, 5)),
    "shifted": (lambda: Shifted(SiLU(), torch.randn(3, 2, 7)), (2, 7)),
    "filtered": (lambda: Filtered.of(torch.rand(6, 4)), (2, 6, 7)),
    "filtered_by_time": (lambda: Filtered.of(torch.rand(3, 6, 5)), (1, 3, 6, 8)),
    "on_finer_grid": (lambda: OnGrid((6, 7), (9, 10)), (1, 2, 6, 7)),
    "on_coarser_grid": (lambda: OnGrid((8, 6), (5, 4)), (1, 2, 8, 6)),
    "on_a_grid_finer_one_way": (lambda: OnGrid((8, 6), (5, 9)), (1, 8, 6)),
    "forecast": (lambda: Forecast(Chain(Conv(2, 2, [1, 3]), SiLU())), (2, 4, 5)),
    "dense": (lambda: Dense(4, 3), (4,)),
    "flattened": (lambda: Flattened(Chain(Dense(12, 5), SiLU(), Dense(5, 12))), (1, 3, 4)),
    "autoencoder": (lambda: autoencoder_prior((1, 3, 4), (8, 2), (7,)), (1, 3, 4)),
    "block_average": (lambda: BlockAverage([2, 2]), (1, 4, 6)),
    "beam_average": (lambda: BeamAverage([0.0, 1.2, 0.7], [False, False, True]), (2, 3, 5, 6)),
    "select": (lambda: Select([2, 0]), (3, 5)),
    "calibration": (calibration, (2, 5)),
    "to_physical": (lambda: scaled(ToPhysical(2)), (2, 5)),
    "to_normalised": (lambda: scaled(ToNormalised(2)), (2, 5)),
    "scattered_positions": (scattered, (2, 3, 4, 5)),
    "positions_of_one_time": (lambda: AtPositions(torch.rand(3, 4, 2, dtype=torch.float64) * 4), (1, 1, 5)),
    "speed_and_direction": (lambda: SpeedAndDirection(0.1), (2, 3, 4)),
    "eof": (eof, (1, 3, 4)),
    "flow": (lambda: FlowPrior(Chain(Conv(2, 2, [1]), SiLU())), (2, 6)),
    "physical_units": (physical_units, (2, 6)),
    "two_scale_1d": (lambda: two_scale_prior(3, 4, [5], [4]), (3, 10)),
    "two_scale_2d": (lambda: two_scale_prior(1, 4, [3, 5], [1, 4], [False, True]), (1, 5, 8)),
    "two_scale_3d": (lambda: two_scale_prior(1, 3, [3, 3, 3], [1, 2, 2]), (1, 3, 5, 4)),
    "two_scale_fine": (
        lambda: two_scale_prior(1, 3, [3, 3], [1, 2], [False, True], fine_kernel=[3, 3]),
        (1, 5, 4),
    ),
    "two_scale_folded": (lambda: two_scale_prior(1, 3, [3, 3], [2, 2], n_times_folded=3), (1, 3, 5, 4)),
    "unet_1d": (lambda: unet(2, 2, (4, 6), [3]), (2, 7)),
    "unet_2d": (lambda: unet(1, 1, (4, 4, 4), [3, 3], [False, True]), (1, 6, 8)),
}


@pytest.fixture(params=MAPS)
def case(request) -> tuple[AbstractMap, torch.Tensor]:
    torch.manual_seed(0)
    make, shape = MAPS[request.param]
    return make().double(), torch.randn(3, *shape, dtype=torch.float64)


def test_filtered_noise_has_the_gaussian_correlation_that_it_should():
    """The covariance is the square of the matrix of the filter: exact far from the border, a half at its sides."""
    unit = torch.eye(60, dtype=torch.float64)
    root = GaussianFilter([4.0])(unit)
    covariance = root @ root.T
    away = torch.arange(-15, 16, dtype=torch.float64)
    torch.testing.assert_close(covariance[30, 15:46], torch.exp(-(away**2) / 32), rtol=1e-3, atol=1e-3)
    assert 0.4 < float(covariance[0, 0]) < 0.65
    field = torch.randn(1, 1, 3, 60, 50, dtype=torch.float64)
    both = GaussianFilter([4.0, 2.0])(field)
    torch.testing.assert_close(both, (root @ GaussianFilter([2.0])(field)), rtol=1e-10, atol=1e-12)


def test_factors_count_from_the_nearest_border():
    found = ByDistance([5.0, 2.0])(torch.ones(1, 4, 5))
    assert found[0].tolist() == [[5.0] * 5, [5.0, 2.0, 2.0, 2.0, 5.0], [5.0, 2.0, 2.0, 2.0, 5.0], [5.0] * 5]


def test_every_time_is_on_its_own():
    torch.manual_seed(0)
    x = torch.randn(2, 1, 4, 6, 8)
    for step in (residual_step(1, (4, 4), [3, 3]), bilinear_tendency(1, 3, [3, 3])):
        each = torch.cat([step(x[:, :, t : t + 1]) for t in range(4)], dim=2)
        torch.testing.assert_close(step(x), each, rtol=1e-5, atol=1e-6)


def test_folded_steps_are_neighbours_in_time():
    torch.manual_seed(0)
    one = FoldSteps(Conv(6, 6, [1, 1]), 3)
    x = torch.zeros(1, 2, 9, 4)
    x[:, :, 3:6] = 1
    assert one(x)[:, :, 3:6].abs().min() > 0
    assert one(x)[:, :, :3].abs().max() == one(x)[:, :, 6:].abs().max() == 0
    assert torch.equal(FoldSteps(Identity(), 3)(x), x)


def test_adjoint_and_tangent_agree_with_automatic_differentiation(case):
    each, x = case
    tangent = torch.randn_like(x)
    value, pushed = torch.func.jvp(each.forward, (x,), (tangent,))
    cotangent = torch.randn_like(value)
    (expected,) = torch.func.vjp(each.forward, x)[1](cotangent)
    linear_value, pullback = each.linearize(x)
    torch.testing.assert_close(linear_value, value, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(pullback(cotangent), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(each.vjp(x, cotangent), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(each.jvp(x, tangent), pushed, rtol=1e-12, atol=1e-12)
    push = each.pushforward(x)
    for factor in (1.0, -2.0):
        torch.testing.assert_close(push(factor * tangent), factor * pushed, rtol=1e-12, atol=1e-12)


def test_dot_product(case):
    each, x = case
    tangent = torch.randn_like(x)
    pushed = each.jvp(x, tangent)
    cotangent = torch.randn_like(pushed)
    left = (pushed * cotangent).sum()
    right = (tangent * each.vjp(x, cotangent)).sum()
    torch.testing.assert_close(left, right, rtol=1e-11, atol=1e-11)


def test_taylor_remainder_has_slope_two(case):
    each, x = case
    tangent = torch.randn_like(x) * 0.1
    first = each.jvp(x, tangent)

    def remainder(h: float) -> float:
        return (each(x + h * tangent) - each(x) - h * first).norm().item()

    large, small = remainder(1e-4), remainder(1e-5)
    # Linear maps have no remainder; ReLU has none either unless the step crosses its kink.
    assert small < 1e-14 or large / small > 10**1.8


def test_adjoints_train_with_first_order_differentiation(case):
    """The gradient of a loss of the pull-back equals the one through double differentiation."""
    each, x = case
    parameters = [p for p in each.parameters() if p.requires_grad]
    if not parameters:
        return
    cotangent = torch.randn_like(each(x))
    by_hand = torch.autograd.grad(each.vjp(x, cotangent).square().sum(), parameters, allow_unused=True)
    point = x.clone().requires_grad_()
    (twice,) = torch.autograd.grad(each(point), point, cotangent, create_graph=True)
    expected = torch.autograd.grad(twice.square().sum(), parameters, allow_unused=True)
    for one, other in zip(by_hand, expected, strict=True):
        one = torch.zeros(()) if one is None else one
        other = torch.zeros(()) if other is None else other
        assert (one - other).abs().max() <= 1e-9 * (1 + other.abs().max())


class Counted(AbstractMap):
    """A square that counts how often its value is asked for."""

    def __init__(self):
        super().__init__()
        self.n_values = 0

    def forward(self, x):
        self.n_values += 1
        return x**2

    def linearize(self, x):
        return self(x), lambda r: 2 * x * r

    def jvp(self, x, tangent):
        return 2 * x * tangent


def test_many_tangents_at_one_point_share_the_values_inside():
    counted = Counted()
    x = torch.tensor([[1.0, 2.0]])
    push = Chain(counted, SiLU(), Counted()).pushforward(x)
    for _ in range(3):
        push(torch.ones(1, 2))
    assert counted.n_values == 1


class CubeOfSum(AbstractMap):
    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        return self.gain * x.sum(1, keepdim=True) ** 3


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_fallback_works_in_every_grad_mode(mode):
    cube = CubeOfSum()
    with mode():
        x = torch.tensor([[1.0, 2.0]])
        value, pullback = cube.linearize(x)
        gradient = pullback(torch.ones(1, 1))
    assert value.item() == 54
    # d/dx 2 (x1 + x2)^3 = 6 * 3^2 = 54
    torch.testing.assert_close(gradient, torch.full((1, 2), 54.0))


def test_fallback_trains_through_the_pullback():
    cube = CubeOfSum()
    x = torch.tensor([[1.0, 2.0]])
    (gradient,) = torch.autograd.grad(cube.vjp(x, torch.ones(1, 1)).sum(), cube.gain)
    # d/dgain of 2 * 3 gain * 3^2 = 54
    assert gradient.item() == 54


def test_priors_have_the_parameters_of_the_papers():
    def count(prior):
        return sum(p.numel() for p in prior.parameters())

    assert count(autoencoder_prior((1, 1, 28, 28), (120, 40, 20), (200, 400))) == 498_844
    assert count(two_scale_prior(3, 30, [11], [4])) == 15_300
    assert count(two_scale_prior(1, 50, [1, 11, 11], [1, 4, 4])) == 55_100
    assert count(two_scale_prior(1, 50, [1, 11, 11], [1, 4, 4], fine_kernel=[1, 3, 3])) == 155_900


def test_the_states_of_an_autoencoder_lie_on_a_surface_of_its_latent_dimension():
    prior = autoencoder_prior((1, 3, 4), (8, 2), (7,)).double()
    x = torch.randn(1, 1, 3, 4, dtype=torch.float64)
    jacobian = torch.func.jacrev(prior)(x).reshape(12, 12)
    assert torch.linalg.matrix_rank(jacobian, rtol=1e-9) <= 2


def test_periodic_convolution_commutes_with_shifts():
    net = two_scale_prior(1, 4, [3, 5], [1, 4], [False, True])
    x = torch.randn(2, 1, 6, 16)
    torch.testing.assert_close(net(x.roll(4, -1)), net(x).roll(4, -1), rtol=1e-5, atol=1e-5)


def test_eof_projection_reproduces_its_own_span():
    fields = torch.randn(12, 1, 2, 5) * torch.tensor([5.0, 3.0, 1.0, 1.0, 1.0])
    prior = EOFPrior((1, 2, 5), 10).fit_(fields)
    torch.testing.assert_close(prior(fields), fields, rtol=1e-4, atol=1e-4)
    with pytest.raises(ConfigError, match="between 1 and 10"):
        EOFPrior((1, 2, 5), 0)
    few = EOFPrior((1, 2, 5), 3).fit_(fields)
    torch.testing.assert_close(few(few(fields)), few(fields), rtol=1e-4, atol=1e-4)
    assert (few(fields) - fields).norm() < fields.norm()


@pytest.mark.parametrize(("fine", "coarse"), [((16, 18), (8, 9)), ((9, 12), (7, 7))])
def test_waves_survive_a_finer_grid_and_the_way_back(fine, coarse):
    def wave(shape):
        y, x = (2 * torch.pi * torch.arange(n).double() / n for n in shape)
        return 2 + torch.sin(2 * y)[:, None] + torch.cos(3 * x) + torch.cos(y[:, None] + 2 * x)

    torch.testing.assert_close(OnGrid(coarse, fine)(wave(coarse)), wave(fine))
    torch.testing.assert_close(OnGrid(fine, coarse)(wave(fine)), wave(coarse))


def test_grids_without_a_wave_are_refused():
    with pytest.raises(ConfigError, match="at least 3 points"):
        OnGrid((8, 2), (8, 8))


def test_filtered_noise_has_the_spread_of_the_errors_it_was_made_of():
    torch.manual_seed(1)
    smooth = Filtered.of(torch.exp(-((torch.fft.fftfreq(16)[:, None] * 8) ** 2).expand(16, 9)))
    errors = 3 * smooth(torch.randn(200, 16, 16))
    again = Filtered.of(spread_of(errors))(torch.randn(200, 16, 16))
    torch.testing.assert_close(again.std(), errors.std(), rtol=0.05, atol=0.0)


def test_noise_with_a_gaussian_spread_has_its_covariance():
    torch.manual_seed(2)
    spread = gaussian_spread((48, 32), (960.0, 800.0), std=0.3, correlation=50.0)
    fields = Filtered.of(spread)(torch.randn(2000, 48, 32, dtype=torch.float64))
    covariance = (fields[:, :1, :1] * fields).mean(0)
    north, east = 20.0 * torch.arange(10), 25.0 * torch.arange(8)
    for found, distance in ((covariance[:10, 0], north), (covariance[0, :8], east)):
        expected = 0.09 * torch.exp(-((distance / 50.0) ** 2) / 2)
        torch.testing.assert_close(found, expected.double(), rtol=0, atol=0.01)
    assert gaussian_spread((8, 8), (1.0, 1.0), std=0.0, correlation=0.1).abs().max() == 0


@pytest.mark.parametrize("wrong", [{"std": -1.0}, {"correlation": 0.0}, {"lengths": (1.0, -1.0)}])
def test_a_spread_that_cannot_be_is_refused(wrong):
    with pytest.raises(ConfigError, match="positive lengths"):
        gaussian_spread(**{"shape": (8, 8), "lengths": (9.0, 9.0), "std": 1.0, "correlation": 2.0, **wrong})


def test_a_change_of_precision_leaves_the_ocean_as_it_is():
    """A module that is cast made real numbers of complex multipliers, and the currents stood still."""
    torch.manual_seed(4)
    x = 0.1 * torch.randn(1, 1, 1, 8, 8)
    ocean = QuasiGeostrophic((8, 8), (800.0, 800.0))
    expected = ocean(x)
    torch.testing.assert_close(ocean.to(torch.float32)(x), expected)


class Gathered(AbstractMap):
    """A map whose torch operation knows no forward mode."""

    def forward(self, x):
        where = torch.tanh(x[:, :2]).movedim(1, -1)
        return torch.nn.functional.grid_sample(x, where, align_corners=True)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_a_tangent_is_pushed_where_torch_knows_no_forward_mode(mode):
    x = torch.randn(2, 2, 4, 5, dtype=torch.float64) / 3
    tangent, step = torch.randn_like(x), 1e-6
    with pytest.raises(NotImplementedError):
        torch.func.jvp(Gathered(), (x,), (tangent,))
    with mode():
        pushed = Gathered().jvp(x, tangent)
        expected = (Gathered()(x + step * tangent) - Gathered()(x - step * tangent)) / (2 * step)
        torch.testing.assert_close(pushed, expected, rtol=1e-6, atol=1e-7)
        assert pushed.requires_grad == (mode is torch.enable_grad)
