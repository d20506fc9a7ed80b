"""From a fitted candidate to a proposal: model directory, evidence bundle, statements."""
