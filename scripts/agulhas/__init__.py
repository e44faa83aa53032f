"""An archive of daily currents through the command line."""
