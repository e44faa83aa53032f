"""Table 1 of the 4DVarNet paper: digits with holes."""
