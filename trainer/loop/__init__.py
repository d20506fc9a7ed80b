"""The loop: evaluate, diagnose, specialise, assess, propose; a ledger that can be resumed."""
