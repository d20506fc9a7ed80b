"""An append-only log that shows when it was tampered with."""
