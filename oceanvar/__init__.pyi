from .archive.jobs import assimilate_archive as assimilate_archive
from .contrasting import fit_energy as fit_energy
from .cycling import cycle as cycle
from .errors import MendedWarning as MendedWarning
from .errors import OceanVarError as OceanVarError
from .fitting import fit as fit
from .mapping import assimilate as assimilate
from .network import presets as presets
from .network.varnet import VarNet as VarNet
from .network.varnet import load as load
from .observing.readers.along_track import open_tracks as open_tracks
from .observing.readers.images import open_images as open_images
from .observing.twins import observe as observe
from .projecting import fit_eofs as fit_eofs
from .state.instruments import Instrument as Instrument
from .state.spaces import StateSpace as StateSpace
from .truths.lorenz import lorenz63 as lorenz63
from .truths.lorenz import lorenz96 as lorenz96
from .truths.lorenz import windows as windows
from .truths.oceans import quasigeostrophic as quasigeostrophic
from .weighing import fit_cost as fit_cost

__version__: str
