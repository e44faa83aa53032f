"""The model a user builds, trains, saves, loads and applies."""
