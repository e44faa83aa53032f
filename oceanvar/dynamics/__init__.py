"""Dynamical systems and their integration."""
