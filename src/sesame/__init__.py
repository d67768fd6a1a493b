"""Sesame: Function Compute that anyone can run. The version is defined only here; pyproject.toml reads it."""

__version__ = "0.2.0"
