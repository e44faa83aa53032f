"""`oceanvar train --keys` is a training file that says all that can be said."""

import inspect
import re
import tomllib
from dataclasses import asdict, fields

import pytest
from click.testing import CliRunner

from oceanvar.cli.commands import main
from oceanvar.cli.config import CLIMATOLOGY, SECTIONS, Source
from oceanvar.cli.keys import documented
from oceanvar.cli.rules import RULES
from oceanvar.network.presets import fourdvarnet
from oceanvar.training.losses import LossWeights
from oceanvar.training.settings import TrainingSettings


@pytest.fixture(scope="module")
def printed() -> str:
    run = CliRunner().invoke(main, ["train", "--keys"])
    assert run.exit_code == 0, run.output
    return run.stdout


def test_it_is_toml_with_the_defaults_of_what_reads_it(printed):
    job = tomllib.loads(printed)
    assert LossWeights(**job["training"].pop("weights")) == LossWeights(forecasts=[])
    given = asdict(TrainingSettings())
    # A list of a TOML file is the tuple of a default.
    assert job["training"].items() <= {k: list(v) if v == () else v for k, v in given.items()}.items()
    assert TrainingSettings(**job["training"]) == TrainingSettings()
    defaults = {name: each.default for name, each in inspect.signature(fourdvarnet).parameters.items()}
    for name, value in job["model"].items():
        assert defaults[name] == (tuple(value) if isinstance(value, list) else value)
    assert job["state"] == {"overlap": {}, "periodic": []}


def test_every_key_is_there_with_what_it_is(printed):
    known = {key for sources in SECTIONS.values() for source in sources for key in source.defaults}
    assert {each.name for each in fields(TrainingSettings)} | {"n_samples", "start", "withhold"} <= known
    known |= {"n_harmonics", "trend", "smoothing"} & set(CLIMATOLOGY.defaults)
    known |= {name for made in (*RULES.values(), LossWeights) for name in Source(made).defaults}
    assert set(re.findall(r"^(?:# )?(\w+) = ", printed, re.MULTILINE)) - {"sampler"} == known
    lines = printed.splitlines()
    for number, line in enumerate(lines):
        if re.match(r"(?:# )?\w+ = ", line) and "sampler = " not in line:
            assert lines[number - 1].startswith("# "), f"{line} says nothing of itself"
            assert lines[number - 1].endswith(")")
    assert max(map(len, lines)) <= 100
    assert "# dims = ...  # needed" in lines
    assert "# patience = ..." in lines


@pytest.mark.parametrize("name", RULES)
def test_every_sampler_is_there(printed, name):
    assert f'# sampler = "{name}": ' in printed
    assert set(documented(RULES[name])) >= set(Source(RULES[name]).defaults)


def test_names_that_share_a_line_have_one_description():
    def described(first, second, third):
        """Say something.

        Parameters
        ----------
        first, second : int
            Two
            numbers.
        third : str, optional
            A text: see below.

            More of it.

        Returns
        -------
        value : float
            No parameter.
        """

    assert documented(described) == {
        "first": ("int", "Two numbers."),
        "second": ("int", "Two numbers."),
        "third": ("str, optional", "A text: see below. More of it."),
    }
