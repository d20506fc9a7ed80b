"""The control process: exports telemetry; nothing here is on a request's way."""
