"""Sesame: Function Compute that anyone can run."""
