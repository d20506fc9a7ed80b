"""The audit: everything that governance decided, recomputed from the files of its folder alone."""
