"""`climatology` in a training file: a season of each point is fitted, kept in the model file and given back."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner, Result

import oceanvar
from oceanvar.cli.commands import main
from oceanvar.network import load
from oceanvar.state import fit_climatology
from tests.state.test_climatology import seasons

FILE = """[data]
observations = "seen_*.nc"
variables = ["sst"]
in_memory = {in_memory}
climatology = {climatology}
[state]
dims = ["time", "latitude", "longitude"]
patch = {{time = 5, latitude = 7, longitude = 6}}
[model]
n_steps = 1
n_features = 2
n_hidden = 2
[training]
n_epochs = 1
n_samples = 2
batch_size = 2
"""


def train(folder: Path, climatology: str, in_memory: str = "true") -> Result:
    config = folder / "train.toml"
    config.write_text(FILE.format(climatology=climatology, in_memory=in_memory))
    return CliRunner().invoke(main, ["train", str(config), "--overwrite"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two files of gappy temperature with a known season, noise-free."""
    folder = tmp_path_factory.mktemp("seasons")
    _, seen = seasons()
    for number, days in enumerate((slice(0, 450), slice(450, None))):
        seen.isel(time=days).to_netcdf(folder / f"seen_{number}.nc")
    return folder


@pytest.mark.parametrize("in_memory", ["true", "false"])
def test_the_season_is_that_of_fit_climatology_and_the_analysis_has_it(folder, in_memory):
    result = train(folder, "{n_harmonics = 1, trend = true}", in_memory)
    assert result.exit_code == 0, result.output
    model = load(folder / "train.varnet")
    truth, seen = seasons()
    kept, expected = model.state_space.climatology, fit_climatology(seen, trend=True)
    np.testing.assert_allclose(kept.coefficients["sst"], expected.coefficients["sst"], rtol=1e-5, atol=1e-5)
    assert (kept.year, kept.units) == (pytest.approx(expected.year), {"sst": "K"})
    # Of departures, not of the 290 K that come and go by 3 K.
    assert abs(model.state_space.mean["sst"]) < 0.01
    days = seen.isel(time=slice(200, 210))
    analysis = oceanvar.assimilate(xr.full_like(days, np.nan), model)
    np.testing.assert_allclose(analysis["sst"], truth["sst"].isel(time=slice(200, 210)), atol=0.05)


@pytest.mark.parametrize(
    ("climatology", "texts"),
    [
        ("{harmonics = 2}", ["climatology in section [data]", "'harmonics'", "did you mean 'n_harmonics'"]),
        ("{n_harmonics = -1}", ["climatology = {'n_harmonics': -1} in section [data]", "at least 0"]),
        ('{n_harmonics = "two"}', ["climatology = {'n_harmonics': 'two'} in section [data]"]),
        ("{n_harmonics = 1.5}", ["climatology = {'n_harmonics': 1.5} in section [data]"]),
        ("true", ["must be a table, {trend = true}, not True"]),
    ],
)
def test_mistakes_are_named(folder, climatology, texts):
    result = train(folder, climatology)
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    for text in texts:
        assert text in result.stderr


def test_a_model_that_is_gone_on_from_keeps_its_own(folder):
    config = folder / "on.toml"
    text = FILE.format(climatology="{}", in_memory="true")
    config.write_text(text[: text.index("[state]")] + '[model]\nstart = "lorenz63"\n')
    result = CliRunner().invoke(main, ["train", str(config)])
    assert result.exit_code == 1
    assert "'lorenz63' has its own or none: leave it out" in result.stderr
