import io
import socket
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from oceanvar.errors import ConfigError
from oceanvar.plots import plot_comparison, plot_history, plot_map, plot_score, plot_spectra, plot_time_site
from oceanvar.plots.canvas import UNOBSERVED, colour_limits


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    import cartopy

    def refuse(*args, **kwargs):
        raise OSError("a picture must not use the network")

    monkeypatch.setattr(socket, "socket", refuse)
    for name in ("data_dir", "pre_existing_data_dir"):
        monkeypatch.setitem(cartopy.config, name, tmp_path)


@pytest.fixture
def truth():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((3, 8, 12))
    values[:, :2, :3] = np.nan
    coords = {
        "time": np.datetime64("2005-06-14", "ns") + np.arange(3) * np.timedelta64(24, "h"),
        "latitude": ("latitude", 38 + 0.5 * np.arange(8), {"units": "degrees_north"}),
        "longitude": ("longitude", 2 + 0.5 * np.arange(12), {"units": "degrees_east"}),
    }
    attrs = {"units": "m", "long_name": "sea level"}
    return xr.DataArray(values, coords, ("time", "latitude", "longitude"), "ssh", attrs)


def render(figure):
    """Draw for real: labels and layouts fail only then."""
    figure.savefig(io.BytesIO(), dpi=30)
    from matplotlib import pyplot

    assert pyplot.get_fignums() == []
    return figure


def panels(figure):
    """Axes of a figure that are not colour bars, and the colour bars."""
    bars = [ax for ax in figure.axes if ax.get_label() == "<colorbar>"]
    return [ax for ax in figure.axes if ax not in bars], bars


def meshes(ax):
    from matplotlib.collections import QuadMesh

    return [one for one in ax.collections if isinstance(one, QuadMesh)]


# ---- limits


def test_limits_are_robust_and_symmetric_about_a_change_of_sign():
    steps = np.linspace(-1, 3, 1001)
    steps[500] = 1e6
    low, high = colour_limits(xr.DataArray(steps))
    assert low == -high
    assert 2.8 < high < 3
    low, high = colour_limits(xr.DataArray(steps[300:500]), xr.DataArray([np.nan, 5.0]))
    assert 0 < low < high <= 5


@pytest.mark.parametrize("values", [[np.nan, np.nan], [3.0, 3.0], [0.0]])
def test_limits_of_degenerate_fields_are_a_range(values):
    low, high = colour_limits(xr.DataArray(values))
    assert np.isfinite([low, high]).all()
    assert low < high


# ---- maps


def test_map_has_labels_limits_and_date(truth):
    for field, time in ((truth[1], None), (truth, "2005-06-15"), (truth, truth.time.values[1])):
        ax = plot_map(field, time=time)
        (drawn,), (bar,) = panels(ax.figure)
        assert drawn is ax
        assert ax.get_title() == "2005-06-15"
        assert "sea level (m)" in (bar.get_xlabel(), bar.get_ylabel())
        (mesh,) = meshes(ax)
        assert mesh.get_clim() == colour_limits(truth[1])
        np.testing.assert_array_equal(mesh.get_array().mask, np.isnan(truth[1]))
    render(ax.figure)
    assert meshes(plot_map(truth[1], limits=(-3, 5)))[0].get_clim() == (-3, 5)


def test_map_onto_given_axes_does_not_care_about_the_order_of_dimensions(truth):
    ax = plot_map(truth[1])
    again = plot_map(truth[1].transpose(), plot_map(truth[0]))
    assert len(meshes(again)) == 2
    np.testing.assert_array_equal(meshes(again)[1].get_array(), meshes(ax)[0].get_array())


def test_curvilinear_map_and_a_map_across_the_date_line(truth):
    lat, lon = np.meshgrid(np.arange(8.0), np.arange(12.0), indexing="ij")
    where = {
        "nav_lat": (("y", "x"), 40 + lat + 0.2 * lon, {"units": "degrees_north"}),
        "nav_lon": (("y", "x"), lon - 0.2 * lat, {"units": "degrees_east"}),
    }
    curved = (
        truth[0].drop_vars(["latitude", "longitude"]).rename(latitude="y", longitude="x").assign_coords(where)
    )
    ax = plot_map(curved)
    render(ax.figure)
    assert meshes(ax)[0].get_array().shape == (8, 12)
    across = plot_map(truth[0].assign_coords(longitude=175 + np.arange(12.0)))
    render(across.figure)
    assert np.ptp(across.get_xlim()) < 13


def test_coastlines_only_from_the_disk(tmp_path):
    from oceanvar.plots.canvas import _coastline_on_disk

    assert _coastline_on_disk() is None
    for resolution in ("110m", "50m"):
        path = tmp_path / "shapefiles" / "natural_earth" / "physical" / f"ne_{resolution}_coastline.shp"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        assert _coastline_on_disk() == resolution


def test_what_is_not_a_map_is_refused(truth):
    for field in (truth, truth[:, 0], truth[0].rename(latitude="y").drop_vars("y")):
        with pytest.raises(ConfigError, match="latitude and longitude"):
            plot_map(field)


# ---- time and site


def test_time_runs_to_the_right():
    time = ("time", np.arange(30) * 0.05, {"units": "model time"})
    state = xr.DataArray(np.random.default_rng(0).standard_normal((30, 7)), {"time": time}, ("time", "site"))
    state.attrs = {"long_name": "state"}
    for field in (state, state.transpose()):
        ax = plot_time_site(field)
        render(ax.figure)
        assert ax.get_xlabel() == "time (model time)"
        assert ax.get_ylabel() == "site"
        np.testing.assert_array_equal(meshes(ax)[0].get_array(), state.transpose("site", "time"))
    dates = state.assign_coords(
        time=np.datetime64("2020-01-01", "ns") + np.arange(30) * np.timedelta64(24, "h")
    )
    render(plot_time_site(dates).figure)
    with pytest.raises(ConfigError, match="time"):
        plot_time_site(state.rename(time="step"))


# ---- comparison


def test_comparison_of_maps(truth):
    obs = truth.where(np.random.default_rng(1).random(truth.shape) < 0.2)
    figure = render(plot_comparison({"Observations": obs[1], "OI": 0.9 * truth[1]}, truth[1]))
    axes, bars = panels(figure)
    assert [ax.get_title() for ax in axes] == ["Truth", "Observations", "OI", "OI - truth"]
    assert len(bars) == 2
    limits = [meshes(ax)[0].get_clim() for ax in axes]
    assert limits[0] == limits[1] == limits[2] != limits[3]
    np.testing.assert_allclose(meshes(axes[3])[0].get_array(), -0.1 * truth[1])
    assert [bar.get_xlabel() for bar in bars] == ["sea level (m)", "error (m)"]
    # Land lies over every panel, and is told from what was not observed.
    assert all(meshes(ax)[1].get_array().count() == 6 for ax in axes)
    assert axes[1].get_facecolor()[0] == pytest.approx(float(UNOBSERVED))


def test_comparison_without_truth_and_of_time_and_site():
    field = xr.DataArray(np.random.default_rng(0).standard_normal((20, 6)), dims=("time", "site"), name="x")
    axes, bars = panels(render(plot_comparison({"a": field, "b": field})))
    assert [ax.get_title() for ax in axes] == ["a", "b"]
    assert len(bars) == 1
    six = plot_comparison(dict.fromkeys("abcd", field + 0.1), field)
    axes, bars = panels(render(six))
    assert len(axes) == 9
    assert len(bars) == 2


def test_comparison_of_series():
    truth = xr.DataArray(np.sin(np.arange(50) / 5), dims="time", name="x", attrs={"units": "m"})
    figure = render(
        plot_comparison({"Observations": truth.where(np.arange(50) % 7 == 0), "OI": truth + 0.1}, truth)
    )
    upper, lower = figure.axes
    assert [line.get_label() for line in upper.lines] == ["Truth", "Observations", "OI"]
    assert upper.get_ylabel() == "x (m)"
    assert lower.get_ylabel() == "error (m)"
    np.testing.assert_allclose(lower.lines[0].get_ydata(), 0.1)
    assert len(render(plot_comparison({"OI": truth})).axes) == 1


def test_comparison_of_nothing():
    with pytest.raises(ConfigError, match="at least one"):
        plot_comparison({})


# ---- curves


def history(validation):
    losses = {"loss": ("epoch", [4.0, 2.0, 1.0, 0.5])}
    if validation is not None:
        losses["validation_loss"] = ("epoch", validation)
    return xr.Dataset(losses, {"epoch": [1, 2, 3, 4]})


@pytest.mark.parametrize(
    ("validation", "best", "n_curves"),
    [([5.0, np.nan, 1.5, 1.7], 3, 2), ([np.nan] * 4, 4, 1), (None, 4, 1)],
)
def test_history_marks_the_best_epoch(validation, best, n_curves):
    ax = plot_history(history(validation))
    render(ax.figure)
    labels = ax.get_legend_handles_labels()[1]
    assert len(labels) == n_curves + 1
    assert labels[-1].startswith(f"best, epoch {best}:")
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("epoch", "loss", "log")


def test_history_without_losses():
    with pytest.raises(ConfigError, match="finite"):
        plot_history(history(None) * np.nan)


@pytest.fixture
def score():
    period, wavelength = 40.0 / np.arange(1, 20), 10.0 / np.arange(1, 30)
    resolved = 1 / (1 + (1.0 / wavelength) ** 4 + ((5.0 / period) ** 4)[:, np.newaxis])
    coords = {
        "period": ("period", period, {"units": "days", "long_name": "period"}),
        "wavelength": ("wavelength", wavelength, {"units": "degrees", "long_name": "wavelength"}),
    }
    return xr.DataArray(resolved, coords, ("period", "wavelength"), "psd_score")


def test_score_marks_contour_and_resolved_scales(score):
    ax = plot_score(score.transpose())
    render(ax.figure)
    labels = ax.get_legend_handles_labels()[1]
    assert [float(one.split()[2]) for one in labels] == pytest.approx([1.0, 5.0], rel=0.02)
    assert ax.get_xlabel() == "wavelength (degrees)"
    assert ax.get_ylabel() == "period (days)"
    assert ax.get_xlim() == pytest.approx((10.0, 10.0 / 29))
    assert len([one for one in ax.collections if one not in meshes(ax)]) == 1


@pytest.mark.parametrize("constant", [0.1, 0.9])
def test_score_without_a_contour(score, constant):
    ax = plot_score(xr.full_like(score, constant))
    render(ax.figure)
    assert len(ax.collections) == 1
    assert len(ax.lines) == (2 if constant > 0.5 else 0)


def test_spectra_mark_where_the_error_has_half_the_power(score):
    wavelength = score["wavelength"]
    truth = (wavelength**3).expand_dims(period=score["period"])
    spectra = xr.Dataset({"truth": truth, "error": 0.5 * 0.7**3 * xr.ones_like(truth)})
    ax = plot_spectra(spectra)
    render(ax.figure)
    assert ax.get_legend_handles_labels()[1][:2] == ["truth", "error"]
    assert ax.lines[2].get_xdata()[0] == pytest.approx(0.7, rel=0.01)
    assert len(plot_spectra(spectra * xr.Dataset({"truth": 1e-9, "error": 1.0})).lines) == 2
    assert plot_spectra(spectra.mean("period").assign(analysis=truth[0])).lines[1].get_label() == "analysis"


def test_importing_the_pictures_imports_no_drawing_library():
    modules = "oceanvar.plots.panels, oceanvar.plots.curves"
    code = f"import sys, {modules}; print({{'matplotlib', 'cartopy'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
