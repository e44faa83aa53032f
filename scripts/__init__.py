"""Experiments, each a folder to be run from the root of the repository: ``python -m scripts.ocean``."""
