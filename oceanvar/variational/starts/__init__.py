"""First guesses."""
