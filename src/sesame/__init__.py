"""Sesame: Function Compute that anyone can run. The version has no other source; pyproject.toml reads it here."""

__version__ = "0.2.0"
