"""The papers' twin experiments, and every method of their tables."""
