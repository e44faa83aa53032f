"""Truths to experiment with: Lorenz systems, a simulated ocean, random fields."""
