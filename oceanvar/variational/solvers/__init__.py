"""Solvers: one iteration each."""
