"""Signed promotion of models will live here; there is nothing yet."""
