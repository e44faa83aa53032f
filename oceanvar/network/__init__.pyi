from . import presets as presets
from .presets import fourdvarnet as fourdvarnet
from .presets import quasigeostrophic_4dvar as quasigeostrophic_4dvar
from .varnet import VarNet as VarNet
from .varnet import load as load
