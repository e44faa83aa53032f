"""Classical maps and scores by one call of the accessor."""

import importlib
import inspect
import re

import numpy as np
import pytest
import xarray as xr

from oceanvar.baselines import interpolate_linear, optimal_interpolation
from oceanvar.errors import ConfigError, MendedWarning, MissingVariableError
from oceanvar.metrics import score_along_track
from oceanvar.observing import sample_field
from tests.labelled_fields import sea_level

LENGTHS = {"time": 4.0, "latitude": 150.0, "longitude": 150.0}


def samples(n=60):
    rng = np.random.default_rng(0)
    seconds = np.sort(rng.uniform(0, 4 * 86_400, n))
    where = {
        "time": np.datetime64("2020-01-01", "ns") + (seconds * 1e9).astype("timedelta64[ns]"),
        "latitude": rng.uniform(35, 37, n),
        "longitude": rng.uniform(5, 7.5, n),
    }
    coords = {name: ("sample", one) for name, one in where.items()}
    return xr.DataArray(0.1 * rng.standard_normal(n), coords, "sample", "ssh", attrs={"units": "m"})


def test_optimal_interpolation_of_grids_and_of_tracks():
    obs = sea_level()
    expected = optimal_interpolation(obs, LENGTHS, 0.02, kernel="matern32")
    xr.testing.assert_identical(obs.varnet.optimal_interpolation(LENGTHS, 0.02, kernel="matern32"), expected)
    with_title = obs.to_dataset().assign_attrs(title="sea").varnet.optimal_interpolation(LENGTHS, 0.02)
    assert with_title.attrs == {"title": "sea"}
    tracks = samples()
    grid = obs.to_dataset().isel(time=slice(3))
    expected = optimal_interpolation(tracks, LENGTHS, 0.02, targets=grid)
    assert expected["ssh"].dims == ("time", "latitude", "longitude")
    for one in (tracks, tracks.to_dataset()):
        xr.testing.assert_identical(one.varnet.optimal_interpolation(LENGTHS, 0.02, grid=grid), expected)


def test_linear_interpolation_of_one_variable():
    obs = sea_level()
    xr.testing.assert_identical(obs.varnet.interpolate_linear(fill=0.0), interpolate_linear(obs, fill=0.0))


def test_scores_along_tracks():
    obs, tracks = sea_level(observed=1.0).to_dataset(), samples()
    found = sample_field(obs["ssh"], tracks)
    expected = score_along_track(found.values, tracks, min_points=5)
    for analysis, truth in (
        (obs["ssh"], tracks),
        (obs, tracks),
        (obs, tracks.to_dataset()),
        (obs.assign(ssh_error=obs["ssh"]), tracks.to_dataset().assign(depth=tracks)),
    ):
        xr.testing.assert_identical(analysis.varnet.score_tracks(truth, min_points=5), expected)
    with pytest.raises(MissingVariableError, match="in common"):
        obs.varnet.score_tracks(tracks.rename("sla"))
    with pytest.raises(MissingVariableError, match="one variable of the tracks"):
        obs["ssh"].varnet.score_tracks(tracks.to_dataset().assign(depth=tracks))
    with pytest.raises(ConfigError, match="tracks are a Dataset"):
        obs.varnet.score_tracks([tracks.values])
    with pytest.warns(MendedWarning, match="already"):
        xr.testing.assert_identical(obs.varnet.score_tracks([tracks, tracks], min_points=5), expected)
    in_cm = obs.assign(ssh=(100 * obs["ssh"]).assign_attrs(units="cm"))
    in_m = tracks.assign_attrs(units="m")
    xr.testing.assert_allclose(in_cm.varnet.score_tracks(in_m, min_points=5)["mu"], expected["mu"])


def test_stated_errors_are_sampled_along_tracks_too():
    obs, tracks = sea_level(observed=1.0).to_dataset(), samples().assign_attrs(units="m")
    obs["ssh_std"] = 0.05 + abs(obs["ssh"])
    std = sample_field(obs["ssh_std"], tracks)
    estimate = sample_field(obs["ssh"], tracks)
    for noise in (0.0, 0.02):
        expected = score_along_track(estimate.values, tracks, std=std.values, noise_std=noise, min_points=5)
        found = obs.varnet.score_tracks(tracks, noise_std=noise, min_points=5)
        xr.testing.assert_identical(found, expected)
    assert "crps" in found
    in_cm = obs.assign(ssh_std=(100 * obs["ssh_std"]).assign_attrs(units="cm"))
    xr.testing.assert_allclose(in_cm.varnet.score_tracks(tracks, noise_std=noise, min_points=5), found)
    with pytest.raises(ConfigError, match="give std too"):
        obs[["ssh"]].varnet.score_tracks(tracks, noise_std=0.02)
    for analysis in (obs[["ssh"]].expand_dims(member=2), obs["ssh"].expand_dims(member=2)):
        with pytest.raises(ConfigError, match=r"dimensions \['member'\] beside those of a map"):
            analysis.varnet.score_tracks(tracks)


VERBS = {
    "assimilate": "oceanvar.mapping.assimilate",
    "fit": "oceanvar.fitting.fit",
    "trust": "oceanvar.trusting.trust",
    "design": "oceanvar.designing.design",
    "observe": "oceanvar.observing.twins.observe",
    "score": "oceanvar.metrics.scores.score",
    "interpolate_linear": "oceanvar.baselines.linear.interpolate_linear",
    "optimal_interpolation": "oceanvar.baselines.optimal.optimal_interpolation",
    "dineof": "oceanvar.baselines.filling.dineof",
    "score_uncertainty": "oceanvar.metrics.probabilistic.score_uncertainty",
    "reliability": "oceanvar.plots.calibration.reliability",
    "plot_comparison": "oceanvar.plots.panels.plot_comparison",
    "plot_history": "oceanvar.plots.curves.plot_history",
    "plot_map": "oceanvar.plots.panels.plot_map",
    "plot_time_site": "oceanvar.plots.panels.plot_time_site",
}


@pytest.mark.parametrize("verb", VERBS)
def test_methods_say_what_their_functions_take(verb):
    """Completion and help show every option; the object itself is no parameter."""
    module, _, name = VERBS[verb].rpartition(".")
    function = getattr(importlib.import_module(module), name)
    first, *others = inspect.signature(function).parameters.values()
    expected = [each.replace(name={"targets": "grid"}.get(each.name, each.name)) for each in others]
    field = sea_level()
    accessors = [each.varnet for each in (field, field.to_dataset()) if hasattr(each.varnet, verb)]
    assert accessors
    for accessor in accessors:
        method = getattr(accessor, verb)
        assert list(inspect.signature(method).parameters.values()) == expected
        assert method.__doc__.splitlines()[0] == function.__doc__.splitlines()[0]
        named = re.findall(r"^    (\w+)[\w, ]* : ", method.__doc__.split("Parameters")[1], re.MULTILINE)
        assert named[0] == expected[0].name != first.name
        assert verb in dir(accessor)
        assert next(iter(inspect.signature(getattr(type(accessor), verb)).parameters)) == "self"


def test_what_methods_do_not_know_is_refused():
    with pytest.raises(TypeError, match="patches"):
        sea_level().varnet.assimilate("ocean", patches={})
    with pytest.raises(TypeError, match="targetts"):
        sea_level().varnet.optimal_interpolation(LENGTHS, 0.1, targetts=None)


def test_the_accessor_says_what_it_sees_and_can_do():
    field = sea_level()
    wide = field.to_dataset().merge({f"v{n}": ("z", [1.0]) for n in range(20)}, compat="no_conflicts")
    tree = xr.DataTree.from_dict({"/north": field.to_dataset(), "/south": wide})
    for obj, sees in (
        (field, "sees        ssh [m] (time, latitude, longitude)"),
        (wide, "ssh [m] (time, latitude, longitude), v0 [no units] (z)"),
        (tree, "/north: ssh, /south: ssh, v0"),
        (xr.Dataset(), "no variables"),
    ):
        text = repr(obj.varnet)
        assert sees in text
        assert len(text.splitlines()) <= 12
        html = obj.varnet._repr_html_()
        assert html.startswith("<div>")
        assert html.count("<tr>") == len(text.splitlines()) - 1


def test_every_public_method_is_named_in_what_the_accessor_says():
    for obj in (sea_level(), sea_level().to_dataset(), xr.DataTree(sea_level().to_dataset())):
        public = [name for name in dir(obj.varnet) if not name.startswith("_")]
        assert [name for name in public if name not in repr(obj.varnet)] == []


def test_a_tree_is_mapped_node_by_node(model, obs):
    south = obs.isel(lat=slice(0, 8)).drop_vars("time")
    tree = xr.DataTree.from_dict(
        {
            "/": xr.Dataset(coords={"time": obs["time"]}),
            "/north": obs,
            "/south": south,
            "/ships": xr.Dataset({"t": ("n", [1.0])}),
        },
        name="seas",
    )
    analysis = tree.varnet.assimilate(model, overlap={})
    assert (analysis.name, set(analysis.children)) == ("seas", {"north", "south"})
    for path in ("north", "south"):
        expected = tree[path].to_dataset().varnet.assimilate(model, overlap={})
        xr.testing.assert_identical(
            analysis[path].to_dataset().drop_attrs(deep=False), expected.drop_attrs(deep=False)
        )
    renamed = xr.DataTree.from_dict({"/a": obs.rename(ssh="sla")})
    with pytest.warns(MendedWarning, match="have 'sla' as 'ssh'"):
        found = renamed.varnet.assimilate(model, overlap={}, variables={"ssh": "sla"})
    assert list(found["a"].data_vars) == ["sla"]
    with pytest.raises(MissingVariableError, match=r"no node of the tree holds \['ssh'\].*'/a': \['sla'\]"):
        renamed.varnet.assimilate(model)
