"""The Earth in numbers."""

RADIUS = 6371.0
"""Mean radius, km."""

FLATTENING = 1 / 298.257

ROTATION = 7.2921e-5
"""Angular velocity, rad/s."""

GRAVITY = 9.81
"""m/s^2."""
