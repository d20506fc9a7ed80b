"""The evidence of one candidate: a folder that grows with it and verifies offline."""
