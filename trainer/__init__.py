"""Fits specialists and exports them as graphs."""
