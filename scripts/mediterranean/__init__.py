"""Sea level of the Mediterranean from maps and real tracks."""
