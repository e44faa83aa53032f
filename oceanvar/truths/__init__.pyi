from .lorenz import lorenz63 as lorenz63, lorenz96 as lorenz96, windows as windows
from .oceans import quasigeostrophic as quasigeostrophic
from .random_fields import GaussianScales as GaussianScales, gaussian_fields as gaussian_fields
