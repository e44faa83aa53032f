"""Training: losses, schedules, the loop, checkpoints."""
