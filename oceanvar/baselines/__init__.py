"""Classical mappings to compare with."""
