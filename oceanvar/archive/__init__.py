"""Archives: many files in, one store or folder out, in bounded memory, resumable."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
