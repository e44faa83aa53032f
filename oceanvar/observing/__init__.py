"""Where and what instruments observe: samplers, satellites, tracks, twin experiments."""
