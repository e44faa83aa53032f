"""Labelled grids: what coordinates mean, and whether two grids are one."""
