"""Learned variational data assimilation (4DVarNet) for gridded ocean observations, on xarray."""

from importlib.metadata import version

import lazy_loader

from oceanvar import accessor  # noqa: F401  registers ``.varnet``

__version__ = version("oceanvar")

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "archive.jobs": ["assimilate_archive"],
        "errors": ["OceanVarError"],
        "fitting": ["fit"],
        "mapping": ["assimilate"],
        "network": ["presets"],
        "network.varnet": ["VarNet", "load"],
        "observing.readers.along_track": ["open_tracks"],
        "observing.readers.images": ["open_images"],
        "observing.twins": ["observe"],
        "state.instruments": ["Instrument"],
        "state.spaces": ["StateSpace"],
        "truths.lorenz": ["lorenz63", "lorenz96", "windows"],
        "truths.oceans": ["quasigeostrophic"],
    },
)
