"""Signed promotion of models."""
