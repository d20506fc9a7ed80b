"""Clinical note sections by a small decoder: fitted and judged offline, not served yet."""
