from .integrators import FlowStep as FlowStep
from .integrators import simulate as simulate
from .lorenz import Lorenz63 as Lorenz63
from .lorenz import Lorenz96 as Lorenz96
from .quasigeostrophic import QuasiGeostrophic as QuasiGeostrophic
