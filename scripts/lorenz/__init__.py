"""Table 2 of the 4DVarNet paper: Lorenz-63 and Lorenz-96."""
