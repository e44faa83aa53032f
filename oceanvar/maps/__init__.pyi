from .base import AbstractMap as AbstractMap
from .compositions import Chain as Chain, Concatenate as Concatenate, Identity as Identity, Product as Product, Shifted as Shifted, Sum as Sum, total as total
from .dense import Dense as Dense, Flattened as Flattened
from .fourier import Filtered as Filtered, OnGrid as OnGrid, gaussian_spread as gaussian_spread, spread_of as spread_of
from .layers import AveragePool as AveragePool, Conv as Conv, ReLU as ReLU, SiLU as SiLU, Upsample as Upsample
from .padding import FoldSteps as FoldSteps, FoldTime as FoldTime, PadToMultiple as PadToMultiple
from .units import ToNormalised as ToNormalised, ToPhysical as ToPhysical, in_physical_units as in_physical_units
