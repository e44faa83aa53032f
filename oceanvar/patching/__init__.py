"""Where patches lie, and how they are stitched."""
