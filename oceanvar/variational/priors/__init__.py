"""Priors Phi."""
