"""Fits candidates, each in a process of its own that sees training rows alone."""
