from .climatology import Climatology as Climatology
from .climatology import fit_climatology as fit_climatology
from .instruments import Instrument as Instrument
from .spaces import StateSpace as StateSpace
from .symmetries import Symmetries as Symmetries
from .windows import WindowSource as WindowSource
