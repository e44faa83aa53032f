from .calibration import reliability as reliability
from .curves import plot_history as plot_history
from .curves import plot_score as plot_score
from .curves import plot_spectra as plot_spectra
from .panels import plot_comparison as plot_comparison
from .panels import plot_map as plot_map
from .panels import plot_time_site as plot_time_site
