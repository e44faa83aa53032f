from . import presets as presets
from .border_errors import measure_borders as measure_borders
from .presets import fourdvarnet as fourdvarnet
from .presets import quasigeostrophic_4dvar as quasigeostrophic_4dvar
from .varnet import VarNet as VarNet
from .varnet import load as load
