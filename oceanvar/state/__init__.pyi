from .instruments import Instrument as Instrument
from .spaces import StateSpace as StateSpace
from .windows import WindowSource as WindowSource
