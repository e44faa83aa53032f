from .presets import fourdvarnet as fourdvarnet, quasigeostrophic_4dvar as quasigeostrophic_4dvar
from .varnet import VarNet as VarNet, load as load
