from .covariance import GaussianCovariance as GaussianCovariance
from .linear import interpolate_linear as interpolate_linear
from .optimal import optimal_interpolation as optimal_interpolation
from .points import interpolate_points as interpolate_points
from .points import interpolate_tracks as interpolate_tracks
from .tuning import fit_lengths as fit_lengths
