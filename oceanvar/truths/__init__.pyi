from .lorenz import lorenz63 as lorenz63
from .lorenz import lorenz96 as lorenz96
from .lorenz import windows as windows
from .oceans import quasigeostrophic as quasigeostrophic
from .random_fields import GaussianScales as GaussianScales
from .random_fields import gaussian_fields as gaussian_fields
