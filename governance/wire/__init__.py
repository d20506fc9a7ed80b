"""Wire types of the admin and governance services, generated from proto/; never edited."""
