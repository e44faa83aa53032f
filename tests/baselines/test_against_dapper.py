"""Ensemble methods beside those of DAPPER with the same random numbers: the same means to rounding."""

import warnings

import numpy as np
import pytest

from oceanvar.baselines import enkf, ienks, letkf

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    dapper = pytest.importorskip("dapper", exc_type=ImportError)

from dapper import da_methods
from dapper.da_methods import ensemble
from dapper.mods.Lorenz63.sakov2012 import HMM

from scripts.lorenz.against_dapper import step_of

pytestmark = pytest.mark.filterwarnings("ignore")
EVERY, N_CYCLES, N_MEMBERS = 25, 12, 10


@pytest.fixture(scope="module")
def experiment():
    HMM.tseq.Ko = N_CYCLES
    dapper.set_seed(3)
    truth, seen = HMM.simulate()
    obs = np.full((1, *truth.shape), np.nan)
    obs[0, EVERY::EVERY] = np.array(list(seen))
    return truth, seen, obs


def run(method, truth, seen):
    """DAPPER's means, with the first members of `first_members`."""
    dapper.set_seed(7)
    method.assimilate(HMM, truth, seen)
    return method.stats.mu


def first_members():
    dapper.set_seed(7)
    return HMM.X0.sample(N_MEMBERS)[None]


def test_perturbed_observations(experiment, monkeypatch):
    truth, seen, obs = experiment
    drawn = []
    mean0 = ensemble.mean0
    monkeypatch.setattr(ensemble, "mean0", lambda E: drawn.append(mean0(E)) or drawn[-1])
    theirs = run(da_methods.EnKF("PertObs", N=N_MEMBERS, infl=1.04), truth, seen)
    first = first_members()

    class Drawn:
        def standard_normal(self, shape):
            # Theirs are subtracted, and scaled already.
            return -drawn.pop(0)[None] / np.sqrt(2 * N_MEMBERS / (N_MEMBERS - 1))

    with monkeypatch.context() as patched:
        patched.setattr(np.random, "default_rng", lambda *_: Drawn())
        ours = enkf(obs, step_of("lorenz63"), first, 2**0.5, inflation=1.04)
    np.testing.assert_allclose(ours.mean[0, EVERY::EVERY], theirs.a, atol=1e-8)


def test_transforms(experiment):
    truth, seen, obs = experiment
    theirs = run(da_methods.EnKF("Sqrt", N=N_MEMBERS, infl=1.02), truth, seen)
    ours = letkf(obs, step_of("lorenz63"), first_members(), 2**0.5, inflation=1.02, rotated=False)
    np.testing.assert_allclose(ours.mean[0, EVERY::EVERY], theirs.a, atol=1e-8)


@pytest.mark.parametrize("lag", [1, 2])
def test_iterations(experiment, lag):
    truth, seen, obs = experiment
    method = da_methods.iEnKS("Sqrt", N=N_MEMBERS, infl=1.02, Lag=lag, nIter=4, wtol=0)
    theirs = run(method, truth, seen)
    options = {"lag": lag, "n_iterations": 4, "tolerance": 0.0, "inflation": 1.02, "rotated": False}
    ours = ienks(obs, step_of("lorenz63"), first_members(), 2**0.5, **options)
    np.testing.assert_allclose(ours.mean[0, EVERY::EVERY], theirs.s, atol=1e-6)
