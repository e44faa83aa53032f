"""The variational core: terms, costs, solvers, assimilators."""
