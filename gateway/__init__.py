"""Serving: the native data plane and the Python around it."""
