"""The governance service: it alone changes what is live, and only as people signed."""
