"""Other servers, for comparison: the same model, the same cores, the same load."""
