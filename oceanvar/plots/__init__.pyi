from .curves import plot_history as plot_history, plot_score as plot_score, plot_spectra as plot_spectra
from .panels import plot_comparison as plot_comparison, plot_map as plot_map, plot_time_site as plot_time_site
