"""A gateway that follows another's governance: it serves what people signed for, and says so."""
