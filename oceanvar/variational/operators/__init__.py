"""Observation operators H: from the state to what an instrument sees."""
