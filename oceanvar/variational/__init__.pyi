from .assimilators import Assimilator as Assimilator
from .controls import ControlSpace as ControlSpace, Forecast as Forecast, ForecastControl as ForecastControl
from .costs import VariationalCost as VariationalCost
from .designs.budgets import AbstractRelaxation as AbstractRelaxation, GumbelTopK as GumbelTopK, PenalisedBudget as PenalisedBudget, SoftBudget as SoftBudget, StraightThrough as StraightThrough
from .designs.sampling import SamplingDesign as SamplingDesign
from .designs.spacing import GreedyReduction as GreedyReduction
from .observations import Observations as Observations
from .operators.averages import BeamAverage as BeamAverage, BlockAverage as BlockAverage
from .operators.base import AbstractOperator as AbstractOperator
from .operators.geostrophy import GeostrophicCurrents as GeostrophicCurrents, SpeedAndDirection as SpeedAndDirection
from .operators.sensors import Calibration as Calibration, Select as Select
from .operators.tracks import AlongTrack as AlongTrack
from .operators.whitening import SwathWhitening as SwathWhitening, TrackWhitening as TrackWhitening
from .penalties import AbstractPenalty as AbstractPenalty, SmoothedL1 as SmoothedL1, Squared as Squared
from .posterior import health as health, is_trapped as is_trapped, posterior_variance as posterior_variance
from .priors.autoencoder import autoencoder_prior as autoencoder_prior
from .priors.eof import EOFPrior as EOFPrior
from .priors.flow import FlowPrior as FlowPrior
from .priors.two_scale import bilinear_block as bilinear_block, two_scale_prior as two_scale_prior
from .priors.unet import unet as unet
from .restarts import Restarts as Restarts
from .solvers.base import AbstractSolver as AbstractSolver
from .solvers.block_tridiagonal import BlockTridiagonalGaussNewton as BlockTridiagonalGaussNewton
from .solvers.descent import ConjugateGradients as ConjugateGradients, FixedPoint as FixedPoint, GradientDescent as GradientDescent
from .solvers.lbfgs import LBFGS as LBFGS
from .solvers.lstm import LSTMSolver as LSTMSolver
from .solvers.newton import GaussNewton as GaussNewton
from .solvers.schedules import Annealed as Annealed, Sequential as Sequential, WithCost as WithCost
from .starts.base import AbstractStart as AbstractStart
from .starts.climatological import ClimateMean as ClimateMean, ClimatologicalStart as ClimatologicalStart
from .starts.interpolated import InterpolatedStart as InterpolatedStart
from .starts.learned import CovariateStart as CovariateStart, LearnedStart as LearnedStart
from .terms.backgrounds import BackgroundTerm as BackgroundTerm
from .terms.base import AbstractTerm as AbstractTerm
from .terms.dynamics import DynamicsTerm as DynamicsTerm, PriorTerm as PriorTerm
from .terms.features import FeatureTerm as FeatureTerm
from .terms.first_state import FirstStateTerm as FirstStateTerm
from .terms.observations import ObservationTerm as ObservationTerm
from .unrolling import Unroll as Unroll
from .verdicts import Analysis as Analysis, Verdict as Verdict
from .weak_constraint import weak_constraint_cost as weak_constraint_cost
