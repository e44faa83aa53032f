"""Every class that a model file may name can be written and read by a process that knows nothing but the file."""

import ast
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

import oceanvar
from oceanvar import registry
from oceanvar.dynamics import FlowStep, QuasiGeostrophic
from oceanvar.errors import ConfigError
from oceanvar.maps import Identity
from oceanvar.network import VarNet
from oceanvar.state import StateSpace
from oceanvar.variational import (
    AdaptiveInterpolation,
    Assimilator,
    ForecastControl,
    GradientDescent,
    Huber,
    ObservationTerm,
    PriorTerm,
    SmoothedL1,
    Sparse,
    VariationalCost,
)

PACKAGE = Path(oceanvar.__file__).parent

ARGUMENTS = {
    "axes": [1, 2],
    "axis": 2,
    "basis": Identity(),
    "channels": [0],
    "control": ForecastControl(Identity(), Identity()),
    "cost": VariationalCost(ObservationTerm()),
    "covariate_features": Identity(),
    "covariates": ["sst"],
    "denoiser": Identity(),
    "dt": 0.1,
    "energy_map": Identity(),
    "factors": [2],
    "first": Identity(),
    "inner": Identity(),
    "interpolation": AdaptiveInterpolation(n_hidden=2),
    "jitter": 0.1,
    "generator": Identity(),
    "kernel": [3, 3, 3],
    "latent": [2],
    "later": Identity(),
    "left": Identity(),
    "length": 3.0,
    "lengths": [100.0, 100.0],
    "maps": (Identity(), Identity()),
    "multiples": [2],
    "n": 1,
    "n_around": 1,
    "n_channels": 2,
    "n_components": 2,
    "n_features": 2,
    "n_hidden": 2,
    "n_in": 2,
    "n_out": 2,
    "n_steps": 3,
    "n_steps_each": 2,
    "n_taken": 3,
    "n_times": 4,
    "n_variables": 2,
    "names": ["sst"],
    "network": Identity(),
    "operator": Identity(),
    "penalties": (Huber(0.2), SmoothedL1(0.1, trainable=True)),
    "penalty": Huber(),
    "prior": Identity(),
    "proximal": Sparse(0.1),
    "right": Identity(),
    "shape": (8, 8),
    "shape_from": (8, 6),
    "shape_to": (12, 6),
    "share": 0.5,
    "size": 0.1,
    "solver": GradientDescent(0.5),
    "stages": ((GradientDescent(0.5), 2), (GradientDescent(0.25), 1)),
    "spread": Identity(),
    "state_features": Identity(),
    "step": Identity(),
    "step_size": 0.5,
    "tendency": Identity(),
    "terms": (ObservationTerm(), PriorTerm(Identity(), weight=0.5)),
    "threshold": 0.1,
    "variances": [1.0] * 8,
    "weight": 0.5,
    "widths": [1.5],
}
"""A value for each required argument of any class."""


CHOICES = {"DictionaryPrior": {"block": [1, 2, 2], "n_atoms": 6, "n_nonzero": 2}}
"""Arguments of classes that ask for one of several."""


def example(cls: type) -> object:
    args, kwargs = (), dict(CHOICES.get(cls.__name__, {}))
    for name, parameter in inspect.signature(cls).parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            args = ARGUMENTS[name]
        elif parameter.default is parameter.empty and name not in kwargs:
            kwargs[name] = ARGUMENTS[name]
    return cls(*args, **kwargs)


def in_a_fresh_process(code: str, *args: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, check=False, cwd=PACKAGE.parent
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_registered_class_survives_a_file_and_a_fresh_process(tmp_path):
    registry.import_wings()
    descriptions = {
        name: registry.describe(example(cls)) for name, cls in registry._CLASSES.items() if _is_ours(cls)
    }
    assert len(descriptions) > 60
    file = tmp_path / "parts.json"
    file.write_text(json.dumps(descriptions))
    code = (
        "import json, sys; from oceanvar import registry; "
        "parts = json.load(open(sys.argv[1])); "
        "print(json.dumps({name: registry.describe(registry.build(part)) for name, part in parts.items()}))"
    )
    assert json.loads(in_a_fresh_process(code, str(file))) == json.loads(file.read_text())


def test_a_model_with_quasigeostrophic_dynamics_is_loaded_by_a_fresh_process(tmp_path):
    flow = FlowStep(QuasiGeostrophic((8, 8), (400.0, 400.0)), dt=0.1)
    space = StateSpace(
        ("ssh",), ("time", "y", "x"), {"time": 3, "y": 8, "x": 8}, mean={"ssh": 0.0}, std={"ssh": 0.1}
    )
    model = VarNet(Assimilator(VariationalCost(PriorTerm(flow)), GradientDescent(0.5), 1), space)
    model.save(tmp_path / "qg.varnet")
    code = "import oceanvar, sys; print(oceanvar.load(sys.argv[1]).digest)"
    assert in_a_fresh_process(code, str(tmp_path / "qg.varnet")).strip() == model.digest


def _is_ours(cls: type) -> bool:
    return cls.__module__.startswith("oceanvar.")


def test_registered_classes_lie_where_the_registry_looks():
    for file in PACKAGE.rglob("*.py"):
        module = ".".join(("oceanvar", *file.relative_to(PACKAGE).with_suffix("").parts))
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef) and any(
                getattr(each, "id", "") == "registered" for each in node.decorator_list
            ):
                assert module.startswith(registry.WINGS), f"{module}.{node.name} is found by no process"


def test_two_classes_of_one_name_are_refused():
    class Identity:
        """Another class of a name that is taken."""

    with pytest.raises(ConfigError, match=r"'Identity', and so does oceanvar\.maps\.compositions"):
        registry.registered(Identity)
