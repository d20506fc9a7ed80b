"""Load tests, the demo and the comparison with other servers."""
