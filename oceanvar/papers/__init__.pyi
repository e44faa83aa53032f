from .comparison import compare as compare
from .experiments import TwinExperiment as TwinExperiment
from .ladder import Method as Method
from .ladder import methods as methods
from .references import ensembles as ensembles
