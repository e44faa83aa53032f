"""Scores of an analysis against the truth."""
