"""Pictures of fields, trainings and spectra."""
