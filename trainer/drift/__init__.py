"""Watches what is served for change: figures to look at, an alarm to act on."""
