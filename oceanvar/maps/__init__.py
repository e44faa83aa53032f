"""Differentiable maps with hand-written adjoints: the material of operators and priors."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
