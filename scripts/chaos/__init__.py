"""Runs over archives that are killed, and outputs, records and inputs that are harmed meanwhile."""
