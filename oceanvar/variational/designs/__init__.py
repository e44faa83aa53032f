"""Where to observe next."""
