"""Learned variational data assimilation (4DVarNet) for gridded ocean observations, on xarray."""

from importlib.metadata import version

import lazy_loader

from oceanvar import accessor  # noqa: F401  registers ``.varnet``

__version__ = version("oceanvar")

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules={"presets", "sampling"},
    submod_attrs={
        "archive.jobs": ["assimilate_archive"],
        "errors": ["OceanVarError"],
        "fitting": ["fit"],
        "instruments": ["Instrument"],
        "mapping": ["assimilate"],
        "osse": ["lorenz63", "lorenz96", "observe", "windows"],
        "practice_ocean": ["quasigeostrophic"],
        "state_space": ["StateSpace"],
        "varnet": ["VarNet", "load"],
    },
)
