"""Several instruments from labelled data: along-track samples cut to patches, error variances, covariates."""

from dataclasses import replace

import dask
import numpy as np
import pytest
import torch
import xarray as xr

import oceanvar
from oceanvar.errors import (
    ConfigError,
    GridMismatchError,
    MendedWarning,
    MissingVariableError,
    ModelMismatchError,
    UnitsMismatchError,
)
from oceanvar.maps import Identity
from oceanvar.network import VarNet
from oceanvar.patching.grids import PatchGrid
from oceanvar.state import Instrument, StateSpace
from oceanvar.state.samples import track_cutter
from oceanvar.state.windows import WindowSource
from oceanvar.variational import (
    AlongTrack,
    Assimilator,
    BeamAverage,
    ConjugateGradients,
    FeatureTerm,
    GeostrophicCurrents,
    InterpolatedStart,
    ObservationTerm,
    PriorTerm,
    Select,
    VariationalCost,
)
from tests.counters import count_solves
from tests.labelled_fields import gappy

DAY = np.timedelta64(1, "D")
NADIR = {"nadir": Instrument(("ssh",), along_track=True)}


@pytest.fixture
def tracked(space) -> StateSpace:
    return replace(space, instruments=NADIR)


def smooth_prior() -> PriorTerm:
    return PriorTerm(BeamAverage([0.0, 1.0, 1.0]), weight=0.5)


def solver_of(space: StateSpace, *terms: ObservationTerm, tracks: tuple[str, ...] = ()) -> VarNet:
    """A linear problem solved nearly exactly: nothing to train."""
    start = InterpolatedStart(tracks=tracks)
    return VarNet(
        Assimilator(VariationalCost(*terms, smooth_prior()), ConjugateGradients(), 12, start), space
    )


@pytest.fixture
def nadir_model(tracked) -> VarNet:
    return solver_of(
        tracked, ObservationTerm(), ObservationTerm(AlongTrack(), "nadir", 2.0), tracks=("nadir",)
    )


def tracks_on(ds: xr.Dataset, n: int = 60, seed: int = 5) -> xr.Dataset:
    """Samples anywhere on the grid, up to half a cell outside it, in no order."""
    rng = np.random.default_rng(seed)
    time, lat, lon = (rng.uniform(-0.5, ds.sizes[dim] - 0.5, n) for dim in ("time", "lat", "lon"))
    return xr.Dataset(
        {"ssh": ("sample", rng.standard_normal(n), {"units": "m"})},
        {
            "time": ("sample", ds["time"].values[0] + (time * 86_400_000).astype("timedelta64[ms]")),
            "latitude": ("sample", lat / 4),
            "longitude": ("sample", lon / 4),
        },
    )


def assert_same_field(a: xr.Dataset, b: xr.Dataset) -> None:
    np.testing.assert_allclose(a["ssh"].values, b["ssh"].values, rtol=1e-4, atol=1e-5)


def test_samples_at_grid_points_are_gridded_observations(space, tracked, obs):
    """The same numbers given as samples and on the grid minimise the same cost."""
    empty = obs.assign(ssh=obs["ssh"] * np.nan)
    gridded = solver_of(space, ObservationTerm(weight=2.0))
    along = solver_of(tracked, ObservationTerm(AlongTrack(), "nadir", weight=2.0), tracks=("nadir",))
    tracks = obs["ssh"].stack(sample=obs["ssh"].dims).dropna("sample").reset_index("sample").to_dataset()
    background = obs.fillna(0.0)
    expected = obs.varnet.assimilate(gridded, background=background)
    analysis = empty.varnet.assimilate(along, background=background, along_track={"nadir": tracks})
    assert_same_field(analysis, expected)
    # and so does the start made from them
    for model in (gridded, along):
        model.assimilator.n_steps = 0
    start = empty.varnet.assimilate(along, along_track={"nadir": tracks})
    assert_same_field(start, obs.varnet.assimilate(gridded))


@pytest.mark.parametrize("how", ["mg m-3", "g m-3", "logarithm"])
def test_a_model_of_logarithms_takes_samples_of_the_values(tracked, obs, how):
    nadir = {"nadir": Instrument(("ssh",), variance="error", along_track=True)}
    plain = replace(tracked, instruments=nadir, units={})
    logarithms = replace(plain, transform={"ssh": "log10"}, units={"ssh": "mg m-3"})
    logs = tracks_on(obs).assign(error=("sample", np.linspace(0.01, 0.02, 60)))
    logs["ssh"].attrs.clear()
    right = track_cutter({"nadir": logs}, obs, plain)([(0, 0, 0)])["nadir"]
    factor = {"g m-3": 1e-3}.get(how, 1.0)
    given = logs.assign(ssh=factor * 10 ** logs["ssh"])
    given["ssh"].attrs["units"] = how
    if how == "logarithm":
        given = logs.copy(deep=True)
        given["ssh"].attrs["units"] = "lg(re 1 mg m-3)"
    found = track_cutter({"nadir": given}, obs, logarithms)([(0, 0, 0)])["nadir"]
    np.testing.assert_allclose(found.values, right.values, atol=1e-9)
    np.testing.assert_allclose(found.variances, right.variances)
    if how != "logarithm":
        of_values = given.assign(error=logs["error"] * (given["ssh"].values * np.log(10)) ** 2)
        of_values["error"].attrs["units"] = f"({how})**2"
        found = track_cutter({"nadir": of_values}, obs, logarithms)([(0, 0, 0)])["nadir"]
        np.testing.assert_allclose(found.variances, right.variances)
        given["ssh"][:5] = -1.0
        found = track_cutter({"nadir": given}, obs, logarithms)([(0, 0, 0)])["nadir"]
        assert np.isfinite(found.values).sum() < np.isfinite(right.values).sum()


def test_names_of_variables_hold_along_tracks_too(nadir_model, obs):
    tracks = tracks_on(obs)
    right = obs.varnet.assimilate(nadir_model, along_track={"nadir": tracks})
    other = tracks.rename(ssh="sla")
    for given in (other, other["sla"], [other]):
        with pytest.warns(MendedWarning, match="have 'sla' as 'ssh'"):
            found = obs.rename(ssh="sla").varnet.assimilate(
                nadir_model, along_track={"nadir": given}, variables={"ssh": "sla"}
            )
        np.testing.assert_array_equal(found["sla"] if "sla" in found else found["ssh"], right["ssh"])


def test_each_patch_gets_its_samples_at_their_places(tracked, obs):
    """Against a loop over all samples; the longitude wraps."""
    periodic = replace(tracked, periodic=("lon",))
    ring = obs.assign_coords(lon=obs["lon"] * 1440 / 13)
    tracks = tracks_on(obs)
    tracks["longitude"] = tracks["longitude"] * 1440 / 13 + 720
    cutter = track_cutter({"nadir": tracks}, ring, periodic)
    grid = PatchGrid(dict(obs.sizes), periodic.patch, periodic.overlap, periodic.periodic)
    origins = list(grid)
    patches = cutter(origins)["nadir"]
    days = (tracks["time"].values - obs["time"].values[0]) / DAY
    place = np.stack([days, tracks["latitude"] * 4, tracks["longitude"] * 52 / 1440], 1)
    for i, origin in enumerate(origins):
        relative = place - origin
        relative[:, 2] = (relative[:, 2] + 0.5) % 13 - 0.5
        inside = ((relative > -0.5) & (relative < np.array([3.5, 5.5, 7.5]))).all(1)
        order = np.flatnonzero(inside)[np.argsort(days[inside])]
        n = len(order)
        np.testing.assert_allclose(patches.values[i, 0, :n], tracks["ssh"].values[order])
        assert np.isnan(patches.values[i, 0, n:]).all()
        expected = np.clip(relative[order], 0, [3, 5, 7])
        np.testing.assert_allclose(patches.positions[i, :n], expected, atol=1e-7)


def test_lazy_eager_any_batch_and_any_order_of_samples_agree(nadir_model, obs, monkeypatch):
    tracks = tracks_on(obs)
    calls = count_solves(monkeypatch)
    eager = obs.varnet.assimilate(nadir_model, along_track={"nadir": tracks})
    n_eager = sum(calls)
    calls.clear()
    lazy = obs.chunk(time=4, lat=6).varnet.assimilate(nadir_model, along_track={"nadir": tracks})
    assert dask.is_dask_collection(lazy)
    assert calls == []
    assert_same_field(lazy.compute(scheduler="sync"), eager)
    assert sum(calls) == n_eager, "each patch is solved exactly once"
    chunked = obs.chunk(time=4, lat=6)
    names = {
        chunked.varnet.assimilate(nadir_model, along_track={"nadir": given})["ssh"].data.name
        for given in (tracks, tracks.copy(deep=True), tracks.isel(sample=slice(30)))
    }
    assert len(names) == 2, "equal samples share a graph, others do not"
    one = obs.varnet.assimilate(nadir_model, along_track={"nadir": tracks}, batch_size=1)
    assert_same_field(one, eager)
    shuffled = tracks.isel(sample=np.random.default_rng(0).permutation(tracks.sizes["sample"]))
    assert_same_field(obs.varnet.assimilate(nadir_model, along_track={"nadir": shuffled}), eager)
    without = obs.varnet.assimilate(nadir_model, along_track={"nadir": tracks.isel(sample=slice(0))})
    assert np.abs(without["ssh"] - eager["ssh"]).max() > 0.1


def test_another_circle_and_a_grid_from_north_to_south(nadir_model, obs):
    tracks = tracks_on(obs)
    double = {"precision": "float64"}
    expected = obs.varnet.assimilate(nadir_model, along_track={"nadir": tracks}, **double)
    turned = {"nadir": tracks.assign_coords(longitude=tracks["longitude"] + 360)}
    assert_same_field(obs.varnet.assimilate(nadir_model, along_track=turned, **double), expected)
    # One patch over all latitudes: the patches of a turned grid lie elsewhere.
    whole = {"patch": {"lat": 11}, "overlap": {"lat": 0}, "along_track": {"nadir": tracks}, **double}
    southward = obs.isel(lat=slice(None, None, -1)).varnet.assimilate(nadir_model, **whole)
    assert_same_field(southward.isel(lat=slice(None, None, -1)), obs.varnet.assimilate(nadir_model, **whole))


def curved_twin(ds: xr.Dataset) -> xr.Dataset:
    """The same grid with latitude and longitude at each point, as NEMO names them."""
    lat, lon = np.meshgrid(ds["lat"], ds["lon"], indexing="ij")
    return (
        ds.drop_vars(["lat", "lon"])
        .rename(lat="y", lon="x")
        .assign_coords(
            nav_lat=(("y", "x"), lat, {"units": "degrees_north"}),
            nav_lon=(("y", "x"), lon, {"units": "degrees_east"}),
        )
    )


def curved_space(space: StateSpace) -> StateSpace:
    names = {"time": "time", "lat": "y", "lon": "x"}
    sizes = {
        each: {names[dim]: n for dim, n in getattr(space, each).items()} for each in ("patch", "overlap")
    }
    return replace(space, dims=tuple(names.values()), **sizes)


def test_a_curvilinear_grid_is_mapped_as_its_rectilinear_twin(nadir_model, tracked, obs):
    """In files whose dimensions have point numbers for coordinates, too; and where other points are beside."""
    tracks = tracks_on(obs)
    expected = obs.varnet.assimilate(nadir_model, along_track={"nadir": tracks})
    without = obs.varnet.assimilate(nadir_model, along_track={"nadir": tracks.isel(sample=slice(0))})
    nadir = ObservationTerm(AlongTrack(), "nadir", 2.0)
    model = solver_of(curved_space(tracked), ObservationTerm(), nadir, tracks=("nadir",))
    twin = curved_twin(obs)
    numbered = twin.assign_coords(y=np.arange(11), x=np.arange(13))
    u_points = numbered.assign_coords(lon_u=twin["nav_lon"] + 0.125)
    u_points["ssh"].attrs["coordinates"] = "nav_lat nav_lon"
    for given in (twin, numbered, u_points, twin.chunk(time=4)):
        analysis = given.varnet.assimilate(model, along_track={"nadir": tracks})
        np.testing.assert_allclose(analysis["ssh"], expected["ssh"], atol=2e-3)
    assert np.abs(without["ssh"] - expected["ssh"]).max() > 0.1
    windows = [
        WindowSource(ds.fillna(0.0), space, ds, along_track={"nadir": tracks})
        for ds, space in ((obs, tracked), (twin, curved_space(tracked)))
    ]
    given, found = (each.tracks([each.draw(np.random.default_rng(0))])["nadir"] for each in windows)
    np.testing.assert_allclose(found.positions, given.positions, atol=1e-4)
    np.testing.assert_array_equal(found.values, given.values)


def test_samples_that_know_their_place_along_the_dimensions_of_a_plane_need_no_angles(tracked, obs):
    tracks = tracks_on(obs)
    plane = curved_twin(obs).assign_coords(y=100.0 * np.arange(11), x=100.0 * np.arange(13))
    own = tracks.assign_coords(y=400 * tracks["latitude"], x=400 * tracks["longitude"])
    nowhere = own.assign_coords(latitude=own["latitude"] * 0 + 80)
    # Lines and pixels of a swath that are called as the dimensions of the grid are none of them.
    swath = tracks.rename(sample="y").assign_coords(y=np.arange(60.0), x=("y", np.arange(60.0)))
    expected, by_place, by_angle = (
        track_cutter({"nadir": given}, plane, curved_space(tracked)).instruments["nadir"].positions
        for given in (tracks, nowhere, swath)
    )
    np.testing.assert_allclose(by_place, expected, atol=1e-4)
    np.testing.assert_array_equal(by_angle, expected)


def test_what_a_curvilinear_grid_lacks_is_told(tracked, obs):
    model = solver_of(curved_space(tracked), ObservationTerm(AlongTrack(), "nadir"))
    twin, tracks = curved_twin(obs), tracks_on(obs)
    with pytest.raises(MissingVariableError, match="'y' of the grid has no coordinate.*over two dimensions"):
        twin.drop_vars("nav_lon").varnet.assimilate(model, along_track={"nadir": tracks})
    more = twin.assign_coords(glamu=twin["nav_lon"] + 0.125)
    with pytest.raises(MissingVariableError, match="several coordinates that are the longitude"):
        more.varnet.assimilate(model, along_track={"nadir": tracks})
    with pytest.raises(MissingVariableError, match="no coordinate 'longitude'"):
        twin.varnet.assimilate(model, along_track={"nadir": tracks.drop_vars("longitude")})
    away = tracks.assign_coords(latitude=tracks["latitude"] + 20)
    with pytest.raises(GridMismatchError, match="none of the 60 samples of 'nadir' lies on the grid"):
        twin.varnet.assimilate(model, along_track={"nadir": away})


def test_samples_elsewhere_and_missing_values_change_nothing(nadir_model, obs):
    tracks = tracks_on(obs)
    expected = obs.varnet.assimilate(nadir_model, along_track={"nadir": tracks})
    far = tracks.assign_coords(latitude=tracks["latitude"] + 20)
    missing = tracks.assign(ssh=tracks["ssh"] * np.nan)
    more = xr.concat([tracks, far, missing], "sample")
    with pytest.warns(MendedWarning, match="60 of 180 samples are without"):
        analysis = obs.varnet.assimilate(nadir_model, along_track={"nadir": more})
    assert_same_field(analysis, expected)


def test_tracks_are_taken_as_they_come(nadir_model, obs):
    """Along another dimension, as a list, as a DataArray, with other names, as variables, in cm, given twice."""
    tracks = tracks_on(obs)
    expected = obs.varnet.assimilate(nadir_model, along_track={"nadir": tracks})
    along_time = tracks.rename(latitude="lat", longitude="lon").swap_dims(sample="time")
    ways = {
        "dimension time": along_time,
        "variables": along_time.reset_coords(["lat", "lon"]),
        "array": along_time["ssh"],
        "list": [tracks.isel(sample=slice(20)), along_time.isel(time=slice(20, None))],
        "20 Hz beside": along_time.assign_coords(
            lat_20hz=(("time", "meas_ind"), np.zeros((60, 20)), {"units": "degrees_north"}),
            lon_20hz=(("time", "meas_ind"), np.zeros((60, 20)), {"units": "degrees_east"}),
        ),
    }
    for way, given in ways.items():
        analysis = obs.varnet.assimilate(nadir_model, along_track={"nadir": given})
        np.testing.assert_allclose(analysis["ssh"], expected["ssh"], atol=1e-6, err_msg=way)
    in_cm = tracks.assign(ssh=(100 * tracks["ssh"]).assign_attrs(units="cm"))
    assert_same_field(obs.varnet.assimilate(nadir_model, along_track={"nadir": in_cm}), expected)
    with pytest.warns(MendedWarning, match="60 of 120 samples are there already"):
        twice = obs.varnet.assimilate(nadir_model, along_track={"nadir": [tracks, 2 * tracks]})
    assert_same_field(twice, expected)


def test_track_errors_say_what_is_wrong(nadir_model, model, obs):
    tracks = tracks_on(obs)

    def assimilate(given: xr.Dataset, on: xr.Dataset = obs) -> None:
        on.varnet.assimilate(nadir_model, along_track={"nadir": given})

    with pytest.raises(ConfigError, match=r"instruments \['nadir'\], and along_track gives \[\]"):
        obs.varnet.assimilate(nadir_model)
    with pytest.raises(ConfigError, match=r"instruments \[\], and along_track gives \['nadir'\]"):
        obs.varnet.assimilate(model, along_track={"nadir": tracks})
    with pytest.raises(MissingVariableError, match="no variable 'ssh'; there are .'sla'"):
        assimilate(tracks.rename(ssh="sla"))
    with pytest.raises(MissingVariableError, match="no coordinate 'latitude'"):
        assimilate(tracks.drop_vars("latitude"))
    with pytest.warns(MendedWarning, match="1 of 60 samples are without a place"):
        assimilate(tracks.assign_coords(latitude=tracks["latitude"].where(np.arange(60) > 0)))
    with pytest.raises(GridMismatchError, match="none of the 60 samples"):
        assimilate(tracks.assign_coords(latitude=tracks["latitude"] + 50))
    with pytest.raises(GridMismatchError, match="1 point.* twice"):
        assimilate(tracks, obs.isel(lat=[0, 2, 2, 3, 4, 5, 6]))
    with pytest.raises(GridMismatchError, match="cannot be counted in days"):
        assimilate(tracks.assign_coords(time=("sample", np.arange(60.0))))
    with pytest.raises(MissingVariableError, match="'lat' of the grid has no coordinate"):
        assimilate(tracks, obs.drop_vars("lat"))
    with pytest.raises(ConfigError, match=r"lazy \(dask\)"):
        assimilate(tracks.chunk())
    with pytest.raises(UnitsMismatchError, match="'kelvin'.*'m'"):
        assimilate(tracks.assign(ssh=tracks["ssh"].assign_attrs(units="kelvin")))
    with pytest.raises(GridMismatchError, match="have one, of samples"):
        assimilate(tracks.expand_dims(member=2))


def test_an_observing_system_that_contradicts_itself_is_refused(space):
    def declared(**changed) -> None:
        replace(space, **changed)

    with pytest.raises(ConfigError, match="'sla' of the instrument 'nadir' is none of"):
        declared(instruments={"nadir": Instrument(("sla",), along_track=True)})
    with pytest.raises(ConfigError, match=r"'state' observes|\"state\" observes"):
        declared(instruments={"state": Instrument(("ssh",), along_track=True)})
    with pytest.raises(ConfigError, match="both covariates and instruments"):
        declared(covariates=("nadir",), instruments=NADIR)
    with pytest.raises(ConfigError, match="one entry of scaled_as for each"):
        Instrument(("u", "v"), scaled_as=("u",))
    with pytest.raises(ConfigError, match="must be positive"):
        Instrument(("ssh",), variance=0.0)


def test_error_variances_a_number_a_field_and_a_variable_of_the_tracks(space, obs):
    """Twice the weight is half the variance, however it is given; std is 2, so variance 4 weighs 1."""
    tracks = tracks_on(obs)

    def analysis(variance, along=None, weights=(1.0, 1.0)) -> xr.Dataset:
        instruments = {
            "state": Instrument(("ssh",), variance=variance),
            "nadir": Instrument(("ssh",), variance=along, along_track=True),
        }
        model = solver_of(
            replace(space, instruments=instruments),
            ObservationTerm(weight=weights[0]),
            ObservationTerm(AlongTrack(), "nadir", weights[1]),
        )
        ds = obs.assign(error=obs["ssh"] * 0 + 2.0, by_latitude=2.0 + 0 * obs["lat"])
        given = tracks.assign(error=tracks["ssh"] * 0 + 8.0)
        return ds.varnet.assimilate(model, along_track={"nadir": given})

    expected = analysis(None, None, (2.0, 0.5))
    for variance in (2.0, "error", "by_latitude"):
        assert_same_field(analysis(variance, 8.0), expected)
        assert_same_field(analysis(variance, "error"), expected)


def test_an_observation_without_error_variance_is_not_used_and_a_negative_one_is_refused(space, obs):
    model = solver_of(
        replace(space, instruments={"state": Instrument(("ssh",), variance="error")}), ObservationTerm()
    )
    error = xr.where(obs["lon"] > 1, 4.0, np.nan) + 0 * obs["lat"]
    few = obs.assign(error=error).varnet.assimilate(model)
    kept = obs.assign(
        ssh=obs["ssh"].where(obs["lon"] > 1).assign_attrs(units="m"), error=4.0 + 0 * obs["lat"]
    )
    assert_same_field(few, kept.varnet.assimilate(model))
    with pytest.raises(ConfigError, match="'error' of 'state' is not positive"):
        obs.assign(error=-1.0 + 0 * obs["lat"]).varnet.assimilate(model)


def test_gridded_instruments_with_operators_of_their_own(space, obs):
    """A coarse map scaled as sea level, and currents in m/s, beside the state's own observations."""
    instruments = {
        "coarse": Instrument(("smooth",), scaled_as=("ssh",)),
        "currents": Instrument(("u", "v"), scaled_as=("u", "v"), variance=0.01),
    }
    rich = replace(space, covariates=("lat", "lon"), instruments=instruments)
    model = solver_of(
        rich,
        ObservationTerm(),
        ObservationTerm(BeamAverage([0.0, 1.0, 1.0]), "coarse"),
        ObservationTerm(GeostrophicCurrents(latitude="lat", longitude="lon"), "currents", 0.1),
    )
    here = obs.assign_coords(lat=obs["lat"] + 40)
    level = 1 + 0.1 * (here["lat"] - 41) + 0 * here["ssh"].fillna(0)
    metre_per_degree = 6_371_000 * np.pi / 180
    u = -9.81 / (2 * 7.2921e-5 * np.sin(np.deg2rad(here["lat"]))) * 0.1 / metre_per_degree + 0 * level
    ds = here.assign(ssh=level.where(here["ssh"].notnull()), smooth=level, u=u, v=0 * u)
    ds["ssh"].attrs["units"] = "m"
    analysis = ds.varnet.assimilate(model, overlap={"lat": 4})["ssh"]
    # The beam flattens slopes at the border of a patch, so the fit is close there and exact nowhere.
    assert float(np.sqrt(((analysis - level) ** 2).mean())) < 0.1 * float(level.std())
    turned = ds.assign(u=-u).varnet.assimilate(model, overlap={"lat": 4})["ssh"]
    assert float(np.abs(turned - analysis).max()) > 0.5 * float(level.std()), "the currents have a say"
    with pytest.raises(MissingVariableError, match="no 'smooth', which the model reads besides"):
        here.varnet.assimilate(model)
    with pytest.raises(GridMismatchError, match="has the dimension 'depth'"):
        ds.assign(u=ds["u"].expand_dims(depth=2)).varnet.assimilate(model)


def test_models_with_instruments_survive_files_and_archives(tracked, obs, tmp_path):
    tracks = {"nadir": tracks_on(obs)}
    space = replace(tracked, covariates=("lat", "depth"))
    beside = FeatureTerm(Identity(), Select([0]), ["lat", "depth"], weight=1e-3)
    nadir = ObservationTerm(AlongTrack(), "nadir", 2.0)
    cost = VariationalCost(ObservationTerm(), nadir, beside, smooth_prior())
    model = VarNet(Assimilator(cost, ConjugateGradients(), 12), space)
    model.save(tmp_path / "m.varnet")
    back = oceanvar.load(tmp_path / "m.varnet")
    assert back.state_space == space
    assert back.digest == model.digest
    ds = obs.assign(depth=1000.0 + 0 * obs["lat"])
    ds.to_netcdf(tmp_path / "obs.nc")
    out = oceanvar.assimilate_archive(
        tmp_path / "obs.nc", back, tmp_path / "a.zarr", along_track=tracks, progress=False
    )
    with xr.open_zarr(out) as stored:
        assert_same_field(stored, ds.varnet.assimilate(model, along_track=tracks))


def test_a_name_on_one_side_only_is_told_when_the_model_is_made(space, tracked):
    nadir = ObservationTerm(AlongTrack(), "nadir")
    with pytest.raises(ModelMismatchError, match=r"looks at \['nadir'\], .* instruments \['state'\]"):
        solver_of(space, ObservationTerm(), nadir)
    with pytest.raises(ModelMismatchError, match=r"looks at \['nadir'\]"):
        solver_of(space, ObservationTerm(), tracks=("nadir",))
    with pytest.raises(ModelMismatchError, match=r"instruments \['nadir'\], at which no part"):
        solver_of(tracked, ObservationTerm())
    solver_of(tracked, ObservationTerm(), tracks=("nadir",))
    geostrophy = ObservationTerm(GeostrophicCurrents(), "hf")
    radar = {"hf": Instrument(("u", "v"), scaled_as=("u", "v"))}
    with pytest.raises(ModelMismatchError, match=r"looks at \['latitude', 'longitude'\], .* covariates \[\]"):
        solver_of(replace(space, instruments=radar), ObservationTerm(), geostrophy)
    with pytest.raises(ModelMismatchError, match=r"covariates \['sst'\], at which no part"):
        solver_of(replace(space, covariates=("sst",)), ObservationTerm())


def test_parts_of_a_users_own_class_may_look_where_they_like(space):
    class Own(InterpolatedStart):
        pass

    gappy_space = replace(space, covariates=("sst",))
    cost = VariationalCost(ObservationTerm(), smooth_prior())
    VarNet(Assimilator(cost, ConjugateGradients(), 1, Own()), gappy_space)


def test_training_with_tracks_learns_their_bias(tracked):
    """An altimeter that reads 1.2 x + 0.4 m, in normalised units 1.2 x + 0.3: found by training."""
    from oceanvar.observing import RandomFraction, sample_field
    from oceanvar.variational import Calibration

    rng = np.random.default_rng(0)
    truth = gappy({"time": 40, "lat": 8, "lon": 10}, fraction=1.1)
    truth["ssh"] = truth["ssh"].rolling(time=5, center=True, min_periods=1).mean()
    truth["ssh"] = 8 * truth["ssh"].rolling(lat=3, lon=3, center=True, min_periods=1).mean() + 1
    tracks = tracks_on(truth, n=6000)
    field = truth["ssh"].rename(lat="latitude", lon="longitude")
    seen = 1.2 * sample_field(field, tracks) + 0.4 + 0.01 * rng.standard_normal(6000)
    tracks["ssh"] = seen.astype(float).drop_vars(["time", "latitude", "longitude"]).assign_attrs(units="m")
    tracks = tracks.dropna("sample")  # beyond the grid
    sensor = Calibration(1)
    cost = VariationalCost(
        ObservationTerm(AlongTrack(sensor=sensor), "nadir"),
        ObservationTerm(name="state", weight=0.1),
    )
    model = VarNet(Assimilator(cost, ConjugateGradients(), 5), replace(tracked, overlap={}))
    options = {"n_epochs": 8, "batch_size": 4, "n_samples": 32, "n_warmup": 1, "device": "cpu"}
    truth.varnet.fit(model, RandomFraction(0.1), along_track={"nadir": tracks}, learning_rate=0.03, **options)
    # (1.2 (2 x + 1) + 0.4 - 1) / 2 = 1.2 x + 0.3
    assert sensor.gain.item() == pytest.approx(1.2, abs=0.05)
    assert sensor.bias.item() == pytest.approx(0.3, abs=0.05)


def test_training_finds_an_unknown_blur(space):
    """A second sensor sees the state through a beam of half a point; training starts from 0.9."""
    from oceanvar.observing import RandomFraction

    rich = replace(space, overlap={}, instruments={"blurred": Instrument(("seen",), scaled_as=("ssh",))})
    truth = gappy({"time": 40, "lat": 6, "lon": 8}, fraction=1.1)
    beam = BeamAverage([0.0, 0.5, 0.5])
    with torch.no_grad():
        normalised = torch.from_numpy((truth["ssh"].values - 1) / 2)[None, None]
        truth["seen"] = (truth["ssh"].dims, beam(normalised)[0, 0].numpy() * 2 + 1)
    unknown = BeamAverage([0.0, 0.9, 0.9])
    cost = VariationalCost(ObservationTerm(), ObservationTerm(unknown, "blurred", weight=3.0))
    model = VarNet(Assimilator(cost, ConjugateGradients(), 8), rich)
    options = {"n_epochs": 8, "batch_size": 4, "n_samples": 24, "n_warmup": 1, "device": "cpu"}
    truth.varnet.fit(model, RandomFraction(0.3), learning_rate=0.1, **options)
    np.testing.assert_allclose(unknown.log_widths.exp().detach(), 0.5, rtol=0.05)
