"""Suites, the sealed held-out set, locked thresholds, bounds, leaks, baselines."""
