from .intervals import bootstrap_difference as bootstrap_difference, bootstrap_interval as bootstrap_interval, bootstrap_ratio as bootstrap_ratio
from .scores import score as score
from .spectra import error_spectra as error_spectra, psd_score as psd_score, resolved_scales as resolved_scales, score_of_spectra as score_of_spectra
from .tables import root_mean_square as root_mean_square, score_table as score_table, squares_by_group as squares_by_group
