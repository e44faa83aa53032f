"""The picture of stated and actual errors."""

import io

import numpy as np
import pytest
import xarray as xr

from oceanvar.errors import ConfigError, MissingVariableError
from oceanvar.metrics import pit_histogram, score_uncertainty, spread_skill
from oceanvar.plots import reliability
from tests.labelled_fields import field

SIZES = (45, 4, 5)


@pytest.fixture
def case():
    std = np.exp(0.4 * field(1, SIZES)).assign_attrs(units="m")
    mean = field(2, SIZES)
    truth = (mean + 2 * std * field(3, SIZES)).assign_attrs(units="m", long_name="sea level")
    return xr.Dataset({"ssh": mean, "ssh_std": std}), truth.rename("ssh")


def render(figure):
    figure.savefig(io.BytesIO(), dpi=30)
    from matplotlib import pyplot

    assert pyplot.get_fignums() == []
    return figure


def titles(ax):
    return ax.get_title(loc="left")


def arms(ax):
    """Ends of the error bars (n, 2)."""
    (bars,) = (one for one in ax.containers if hasattr(one, "has_yerr"))
    return np.array([each[:, 1] for each in bars[2][0].get_segments()])


def test_a_row_shows_histogram_and_error_against_stated_error(case):
    analysis, truth = case
    figure = render(reliability(analysis, truth))
    left, right = figure.axes
    blocks = {"time": 3}  # twenty stretches at most
    histogram = pit_histogram(analysis.ssh, truth, analysis.ssh_std, blocks=blocks)
    np.testing.assert_allclose([bar.get_height() for bar in left.patches], histogram["density"])
    np.testing.assert_allclose(arms(left), histogram["density_interval"], atol=1e-12)
    assert [bar.get_x() for bar in left.patches] == pytest.approx(np.arange(0, 0.95, 0.1), abs=1e-9)
    curve = spread_skill(analysis.ssh, truth, analysis.ssh_std, blocks=blocks)
    diagonal, points = right.lines[:2]
    np.testing.assert_array_equal(*diagonal.get_data())
    np.testing.assert_allclose(points.get_xydata().T, [curve["stated"], curve["rmse"]])
    np.testing.assert_allclose(arms(right), curve["rmse_interval"])
    assert right.get_xlabel() == "stated error (m)"
    assert right.get_ylabel() == "root mean square error (m)"
    scores = score_uncertainty(analysis.ssh, truth, analysis.ssh_std, blocks=blocks)
    low, high = scores["error_over_stated_interval"].values
    assert (
        titles(right)
        == f"error over stated: {float(scores.error_over_stated):.2f}  ({low:.2f} to {high:.2f})"
    )
    assert titles(left).endswith(" %")
    assert titles(left).startswith("truths in the 50 / 90 / 95 % intervals: ")
    assert figure.subfigs[0].get_suptitle() == "sea level"
    assert max(arms(right).max(), curve["stated"].max()) < right.get_xlim()[1] == right.get_ylim()[1]


def test_other_blocks_give_other_intervals(case):
    analysis, truth = case
    figure = reliability(analysis, truth, blocks={"time": 15, "latitude": 2})
    expected = spread_skill(analysis.ssh, truth, analysis.ssh_std, blocks={"time": 15, "latitude": 2})
    np.testing.assert_allclose(arms(figure.axes[1]), expected["rmse_interval"])
    whole = render(reliability(analysis, truth, blocks={"time": 45}))  # one block has no interval
    np.testing.assert_array_equal(np.ptp(arms(whole.axes[1]), axis=1), 0)
    assert "to" not in titles(whole.axes[1]).split(":")[1]


def test_an_ensemble_has_a_bar_for_each_rank(case):
    analysis, truth = case
    noise = xr.DataArray(np.random.default_rng(0).standard_normal((6, *SIZES)), dims=["member", *truth.dims])
    members = analysis.ssh + analysis.ssh_std * noise
    figure = render(reliability(members, truth))
    left, _ = figure.axes
    expected = pit_histogram(members, truth)
    np.testing.assert_allclose([bar.get_height() for bar in left.patches], expected["density"])
    assert [bar.get_width() for bar in left.patches] == pytest.approx([1 / 7] * 7)
    assert left.get_xlabel() == "rank of the truth in the ensemble"
    assert titles(left).startswith("truths in the 50 % intervals: ")
    two = render(reliability(members.isel(member=[0, 1]), truth))
    assert titles(two.axes[0]) == ""


def test_every_variable_that_states_its_error_has_a_row(case):
    analysis, truth = case
    more = analysis.assign(
        sst=analysis.ssh + 1, sst_std=2 * analysis.ssh_std, ice=analysis.ssh, health=analysis.ssh
    )
    truths = xr.Dataset({"sst": truth.assign_attrs(long_name="temperature"), "ice": truth, "ssh": truth})
    figure = render(reliability(more.chunk(time=20), truths))
    assert [row.get_suptitle() for row in figure.subfigs] == ["sea level", "temperature"]
    assert len(figure.axes) == 4


def test_fields_without_time_are_cut_along_their_first_dimension(case):
    analysis, truth = case
    plain = [one.rename(time="window").drop_vars("window") for one in (analysis, truth)]
    figure = reliability(*plain)
    np.testing.assert_allclose(arms(figure.axes[1]), arms(reliability(analysis, truth).axes[1]))
    turned = reliability(analysis.transpose(..., "time"), truth.transpose(..., "time"))
    np.testing.assert_allclose(arms(turned.axes[1]), arms(figure.axes[1]))


def test_what_states_no_error_is_refused(case):
    analysis, truth = case
    with pytest.raises(MissingVariableError, match=r"none of the variables \['ssh'\] states its error"):
        reliability(analysis.ssh, truth)
    with pytest.raises(MissingVariableError, match="'ssh' is not in the truth"):
        reliability(analysis, truth.to_dataset(name="adt"))
    members = xr.Dataset({"sla": analysis.ssh.expand_dims(member=3)})
    with pytest.raises(MissingVariableError, match="'sla' is not in the truth"):
        reliability(analysis.merge(members), truth)
    with pytest.raises(MissingVariableError, match="states its error"):
        reliability(members, members)
    with pytest.raises(ConfigError, match="stated twice"):
        reliability(analysis.assign(ssh=analysis.ssh.expand_dims(member=3)), truth)
