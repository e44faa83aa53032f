"""Sea level of a simulated ocean from satellites."""
