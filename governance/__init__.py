"""The live model changes only by signed approval: keys, statements, ledger, states, verdicts."""
