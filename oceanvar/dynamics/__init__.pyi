from .integrators import FlowStep as FlowStep, simulate as simulate
from .lorenz import Lorenz63 as Lorenz63, Lorenz96 as Lorenz96
from .quasigeostrophic import QuasiGeostrophic as QuasiGeostrophic
