"""Proximal maps: regularisers that have no gradient, bounds, and denoisers in their place."""
