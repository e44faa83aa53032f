"""Models as files: round trips, refusals, normalisation."""

import json
import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
import xarray as xr

import oceanvar
from oceanvar import registry
from oceanvar.dynamics import FlowStep, Lorenz63
from oceanvar.errors import ConfigError, ModelMismatchError, PatchError, StoreError
from oceanvar.maps import AbstractMap, Gradient, in_physical_units
from oceanvar.network import VarNet, fourdvarnet
from oceanvar.network.files import PACKAGED
from oceanvar.state import Instrument, StateSpace
from oceanvar.variational import (
    Assimilator,
    ConjugateGradients,
    EOFPrior,
    FlowPrior,
    GradientDescent,
    MapTerm,
    ObservationTerm,
    PriorTerm,
    SmoothedL1,
    VariationalCost,
    two_scale_prior,
)


def test_a_saved_model_comes_back_the_same(model, tmp_path):
    model.provenance["card"] = {"command": "by hand"}
    model.save(tmp_path / "m.varnet")
    back = oceanvar.load(tmp_path / "m.varnet")
    assert back.digest == model.digest
    assert back.state_space == model.state_space
    assert back.provenance == model.provenance
    values = np.full((2, 1, 4, 6, 8), np.nan, np.float32)
    values[..., ::2] = 1.5
    np.testing.assert_array_equal(back.solve(values), model.solve(values))


def test_a_model_says_what_it_is_in_twelve_lines(space, model):
    assert "trained on  nothing yet: truth.varnet.fit" in repr(
        fourdvarnet(replace(space, mean=None, std=None), n_features=2, n_hidden=2)
    )
    text = repr(model)
    for said in (
        "ssh [m]",
        "time 4, lat 6, lon 8",
        "time 2, lat 2, lon 3",
        "trained on  not told",
        "ssh over time",
    ):
        assert said in text
    assert f"{sum(p.numel() for p in model.assimilator.parameters()):,}" in text


@pytest.mark.parametrize("name", sorted(path.stem for path in PACKAGED.glob("*.varnet")))
def test_a_packaged_model_says_what_it_is(name):
    model = oceanvar.load(name)
    text = repr(model)
    assert len(text.splitlines()) <= 12
    assert max(map(len, text.splitlines())) < 180
    assert "card" not in model.provenance or "(95 %" in text
    assert "not told" not in text
    assert "units not known" not in text
    assert model._repr_html_().count("<tr>") == len(text.splitlines()) - 1


def test_what_a_model_says_in_html_is_text(space, model):
    model.provenance["card"] = {"data": "a < b", "R <i>": "1 (95 % 0 to 2)"}
    assert "a &lt; b" in model._repr_html_()
    assert "R &lt;i&gt;: 1" in model._repr_html_()


def test_a_model_of_much_says_it_short():
    names = tuple(f"v{n}" for n in range(40))
    instruments = {f"i{n}": Instrument(names[:1]) for n in range(20)}
    space = StateSpace(names, ("time", "x"), {"time": 4, "x": 8}, instruments=instruments)
    text = repr(fourdvarnet(space, n_features=2, n_hidden=2))
    assert "and 34 more" in text
    assert "instrument i0" in text
    assert len(text.splitlines()) <= 12
    assert max(map(len, text.splitlines())) < 250


def test_a_part_used_twice_is_saved(space, obs, tmp_path):
    part = two_scale_prior(1, 2, [3, 3, 3], [1, 1, 1])
    cost = VariationalCost(PriorTerm(part), PriorTerm(part, weight=2.0))
    model = VarNet(Assimilator(cost, GradientDescent(0.5), 2), space)
    model.save(tmp_path / "m.varnet")
    again = oceanvar.load(tmp_path / "m.varnet")
    np.testing.assert_array_equal(obs.varnet.assimilate(again)["ssh"], obs.varnet.assimilate(model)["ssh"])


def test_a_part_changed_after_it_was_made_is_saved_as_it_is_now(model, tmp_path):
    model.assimilator.n_steps = 7
    model.assimilator.solver = GradientDescent(0.125)
    model.save(tmp_path / "m.varnet")
    back = oceanvar.load(tmp_path / "m.varnet")
    assert back.assimilator.n_steps == 7
    assert back.assimilator.solver.step_size == 0.125


PARTS = {
    "flow": lambda: in_physical_units(FlowPrior(FlowStep(Lorenz63(rho=20.0), 0.02, n_substeps=2)), 3),
    "eof": lambda: EOFPrior((3, 8), 4).fit_(torch.randn(10, 3, 8)),
}


@pytest.mark.parametrize("part", PARTS)
def test_every_part_survives_a_file(part, tmp_path):
    cost = VariationalCost(ObservationTerm(penalty=SmoothedL1(0.2)), PriorTerm(PARTS[part](), weight=0.3))
    space = StateSpace(
        ("x", "y", "z"), ("time",), {"time": 8}, mean=dict(x=1.0, y=2.0, z=3.0), std=dict(x=2, y=2, z=2)
    )
    model = VarNet(Assimilator(cost, GradientDescent(0.5), 3), space)
    model.save(tmp_path / "m.varnet")
    values = np.random.default_rng(0).standard_normal((2, 3, 8)).astype(np.float32)
    np.testing.assert_array_equal(oceanvar.load(tmp_path / "m.varnet").solve(values), model.solve(values))


def test_halves_are_half_the_size_and_almost_the_same_model(space, tmp_path):
    """Of large layers: the coefficients of learned equations are few, and exact."""
    model = oceanvar.presets.fourdvarnet(space, n_steps=1, n_features=16, n_hidden=24)
    for name, half in (("whole", False), ("half", True)):
        model.save(tmp_path / name, half=half)
    loaded = oceanvar.load(tmp_path / "half")
    for theirs, mine in zip(loaded.assimilator.parameters(), model.assimilator.parameters(), strict=True):
        assert theirs.dtype == torch.float32
        torch.testing.assert_close(theirs, mine, rtol=5e-4, atol=1e-6)
    whole = len(oceanvar.load(tmp_path / "whole").to_bytes())
    sizes = [p.numel() for p in model.assimilator.parameters()]
    n_weights = sum(n for n in sizes if n > 1000)
    assert sum(sizes) > n_weights > 0.7 * sum(sizes)
    few = [
        (a, b) for a, b in zip(loaded.assimilator.parameters(), model.assimilator.parameters(), strict=True)
    ]
    assert all(torch.equal(a, b) for a, b in few if a.numel() <= 1000)
    assert whole - (tmp_path / "half").stat().st_size == pytest.approx(2 * n_weights, rel=0.01)
    loaded.save(tmp_path / "again")
    assert oceanvar.load(tmp_path / "again").digest == loaded.digest


def test_weights_of_a_packaged_model_are_borrowed(tmp_path):
    packaged = oceanvar.load("ocean-2026.11")
    own = VarNet(packaged.assimilator, replace(packaged.state_space, overlap={"time": 3}))
    own.save(tmp_path / "small.varnet", half=True, borrowed={"start.": "ocean-2026.11"})
    own.save(tmp_path / "whole.varnet", half=True)
    assert (tmp_path / "small.varnet").stat().st_size < 30_000 < (tmp_path / "whole.varnet").stat().st_size
    small, whole = (oceanvar.load(tmp_path / f"{name}.varnet") for name in ("small", "whole"))
    assert small.digest == whole.digest
    own.save(tmp_path / "odd.varnet", borrowed={"start.": "nobody"})
    with pytest.raises(ModelMismatchError, match="borrows from 'nobody', and the packaged models are"):
        oceanvar.load(tmp_path / "odd.varnet")
    with torch.no_grad():
        next(own.assimilator.start.parameters()).add_(0.1)
    own.save(tmp_path / "other.varnet", half=True, borrowed={"start.": "ocean-2026.11"})
    with pytest.raises(ModelMismatchError, match="damaged"):
        oceanvar.load(tmp_path / "other.varnet")


def test_physical_units_follow_the_normalisation():
    prior = PARTS["flow"]()
    space = StateSpace(
        ("x", "y", "z"), ("time",), {"time": 8}, mean=dict(x=1.0, y=2.0, z=3.0), std=dict(x=2, y=3, z=4)
    )
    VarNet(Assimilator(VariationalCost(PriorTerm(prior)), GradientDescent(1.0), 1), space)
    for units in (prior.maps[0], prior.maps[2]):
        assert units.mean.tolist() == [1, 2, 3]
        assert units.std.tolist() == [2, 3, 4]


def rewritten(model: VarNet, change) -> bytes:
    """Contents of a model file with another header."""
    content = model.to_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["oceanvar"])
    change(header)
    return safetensors.torch.save(model._tensors(), metadata={"oceanvar": json.dumps(header)})


def resigned(model: VarNet, change) -> bytes:
    """The same, with a digest that fits the change."""
    from oceanvar.network.files import fingerprint

    def sign(header):
        change(header)
        body = {k: v for k, v in header.items() if k not in ("digest", "provenance")}
        header["digest"] = fingerprint(body, model._tensors())

    return rewritten(model, sign)


def test_a_changed_file_is_refused(model, tmp_path):
    path = tmp_path / "m.varnet"
    path.write_bytes(rewritten(model, lambda h: h["state_space"].update(mean={"ssh": 5.0})))
    with pytest.raises(ModelMismatchError, match="damaged"):
        oceanvar.load(path)
    model.save(path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelMismatchError, match="damaged"):
        oceanvar.load(path)
    path.write_bytes(content[:100])
    with pytest.raises(ModelMismatchError, match="not an oceanvar model"):
        oceanvar.load(path)


@pytest.mark.parametrize("name", ["os.system", "subprocess.Popen", "Module", "dict", ["a"], None])
def test_a_foreign_class_name_loads_nothing(model, tmp_path, name):
    path = tmp_path / "m.varnet"
    path.write_bytes(resigned(model, lambda h: h["assimilator"]["arguments"]["cost"].update({"class": name})))
    with pytest.raises(ModelMismatchError, match="does not know; nothing was loaded"):
        oceanvar.load(path)


def test_a_known_class_with_wrong_arguments_or_in_the_wrong_place(model, tmp_path):
    path = tmp_path / "m.varnet"
    path.write_bytes(resigned(model, lambda h: h["assimilator"]["arguments"].update(surprise=1)))
    with pytest.raises(ModelMismatchError, match="do not fit"):
        oceanvar.load(path)
    path.write_bytes(resigned(model, lambda h: h.update(assimilator={"class": "ReLU", "arguments": {}})))
    with pytest.raises(ModelMismatchError, match="not an assimilator|do not fit"):
        oceanvar.load(path)


def test_a_description_that_asks_for_more_than_the_file_holds_takes_no_memory(model, tmp_path):
    path = tmp_path / "m.varnet"
    solver = {"n_hidden": 20_000}  # 58 GB
    path.write_bytes(
        resigned(model, lambda h: h["assimilator"]["arguments"]["solver"]["arguments"].update(solver))
    )
    tracemalloc.start()
    began = time.perf_counter()
    with pytest.raises(ModelMismatchError, match=r"do not fit the assimilator: 'solver.* asks for \(80000, "):
        oceanvar.load(path)
    assert time.perf_counter() - began < 5
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_refused(model, tmp_path, value):
    with torch.no_grad():
        dict(model.assimilator.named_parameters())["solver.update.weight"].view(-1)[3] = value
    model.save(tmp_path / "m.varnet")
    with pytest.raises(ModelMismatchError, match=r"1 of the \d+ numbers of 'solver.* in .* are not finite"):
        oceanvar.load(tmp_path / "m.varnet")


@pytest.mark.parametrize("wrong", [{"std": {"ssh": 0.0}}, {"std": {"ssh": float("nan")}}, {"mean": {"ssh": "1"}},
                                   {"surprise": 1}, {"patch": {}}])  # fmt: skip
def test_a_state_space_that_cannot_be_is_refused(model, tmp_path, wrong):
    path = tmp_path / "m.varnet"
    path.write_bytes(resigned(model, lambda h: h["state_space"].update(wrong)))
    with pytest.raises(ModelMismatchError, match="the state space in .* cannot be"):
        oceanvar.load(path)


def test_loading_leaves_random_numbers_alone(model, tmp_path):
    model.save(tmp_path / "m.varnet")
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    oceanvar.load(tmp_path / "m.varnet")
    assert torch.equal(torch.rand(4), expected)


def test_files_that_are_no_models(tmp_path):
    path = tmp_path / "m.varnet"
    for content in (b"", b"not a model", safetensors.torch.save({"x": torch.zeros(2)})):
        path.write_bytes(content)
        with pytest.raises(ModelMismatchError, match="not an oceanvar model file"):
            oceanvar.load(path)
    with pytest.raises(StoreError, match="packaged models are"):
        oceanvar.load("no such model")


class Halve(AbstractMap):
    """Somebody's own prior."""

    def __init__(self):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, x):
        return self.factor * x


def test_own_classes_are_passed_in(space, tmp_path):
    def build() -> Assimilator:
        return Assimilator(VariationalCost(ObservationTerm(), PriorTerm(Halve())), GradientDescent(1.0), 2)

    model = VarNet(build(), space)
    model.assimilator.cost.prior.factor.data.fill_(0.25)
    model.save(tmp_path / "own.varnet")
    with pytest.raises(ModelMismatchError, match="assimilator="):
        oceanvar.load(tmp_path / "own.varnet")
    back = oceanvar.load(tmp_path / "own.varnet", assimilator=build())
    assert back.assimilator.cost.prior.factor.item() == 0.25


def test_a_digest_tells_models_of_own_classes_apart(space):
    """Or an archive would be finished with another model than it was begun with."""

    def digest(n_steps: int = 2, rate: float = 1.0, prior: type = Halve) -> str:
        cost = VariationalCost(ObservationTerm(), PriorTerm(prior()))
        return VarNet(Assimilator(cost, GradientDescent(rate), n_steps), space).digest

    class Other(Halve):
        pass

    model = VarNet(Assimilator(VariationalCost(PriorTerm(Halve())), GradientDescent(1.0), 2), space)
    before = model.digest
    model.assimilator.eval()
    assert model.digest == before
    assert digest() == digest()
    assert len({digest(), digest(n_steps=3), digest(rate=0.5), digest(prior=Other)}) == 4


def test_own_classes_can_assimilate_without_a_file(space, obs):
    model = VarNet(Assimilator(VariationalCost(PriorTerm(Halve())), GradientDescent(1.0), 2), space)
    eager = obs.varnet.assimilate(model)
    np.testing.assert_allclose(obs.chunk(time=3).varnet.assimilate(model)["ssh"], eager["ssh"], rtol=1e-5)


def test_description_of_plain_values():
    for value in (None, True, 3, 2.5, "a", [1, "b"], {"k": [1.0]}):
        assert registry.build(registry.describe(value)) == value


def test_a_model_without_normalisation_says_so(space, obs):
    from dataclasses import replace

    from oceanvar.network import fourdvarnet

    model = fourdvarnet(replace(space, mean=None, std=None), n_features=2, n_hidden=2)
    with pytest.raises(ConfigError, match="no normalisation yet"):
        obs.varnet.assimilate(model)


def test_state_space_errors():
    with pytest.raises(PatchError, match="no size for dimension 'lat'"):
        StateSpace(("x",), ("time", "lat"), {"time": 3})
    with pytest.raises(PatchError, match="'depth'"):
        StateSpace(("x",), ("time",), {"time": 3}, periodic=("depth",))


def test_a_cost_that_was_reweighted_stays_so_in_solves_files_and_digests(tmp_path):
    space = StateSpace(("h",), ("time", "x"), {"time": 2, "x": 8}, mean={"h": 0.0}, std={"h": 1.0})
    cost = VariationalCost(ObservationTerm(), MapTerm(Gradient([1])))
    obs = xr.Dataset({"h": (("time", "x"), np.random.default_rng(0).normal(size=(2, 8)))})
    plain, smooth = (
        VarNet(Assimilator(each, ConjugateGradients(), 30), space)
        for each in (cost, cost.reweighted({1: 100.0}))
    )
    analyses = [obs.varnet.assimilate(model) for model in (plain, smooth)]
    assert float(analyses[1]["h"].std("x").mean()) < 0.1 * float(analyses[0]["h"].std("x").mean())
    assert plain.digest != smooth.digest
    smooth.save(tmp_path / "smooth.varnet")
    again = oceanvar.load(tmp_path / "smooth.varnet")
    assert again.digest == smooth.digest
    assert again.assimilator.cost.terms[1].factor == 100.0
    mapped = obs.varnet.assimilate(again)
    xr.testing.assert_identical(mapped["h"], analyses[1]["h"])  # the histories of the Datasets have the time
    described = registry.describe(smooth.assimilator)
    described["arguments"]["cost"]["arguments"]["terms"][1]["set"] = {"forward": 1.0}
    with pytest.raises(ModelMismatchError, match="sets forward of MapTerm to 1.0, which cannot be"):
        registry.build(described)
