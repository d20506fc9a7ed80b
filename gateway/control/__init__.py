"""Processes beside the server: telemetry is exported here; nothing is on a request's way."""
