from .loop import train as train
from .losses import LossWeights as LossWeights
from .losses import training_loss as training_loss
from .settings import TrainingSettings as TrainingSettings
