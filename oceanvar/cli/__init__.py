"""The shell command ``oceanvar``."""
