from .fields import Flows as Flows
from .seas import Seas as Seas
