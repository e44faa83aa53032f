"""Learned variational data assimilation (4DVarNet) for gridded ocean observations, on xarray."""

from importlib.metadata import version

import lazy_loader

from oceanvar import accessor  # noqa: F401  registers ``.varnet``

__version__ = version("oceanvar")

# The public names stand in __init__.pyi, where editors and type checkers see them too.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
