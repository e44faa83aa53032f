from .comparison import compare as compare
from .experiments import TwinExperiment as TwinExperiment
from .ladder import Method as Method, methods as methods
