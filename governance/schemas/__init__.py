"""The published JSON Schemas (draft 2020-12) of policies and statements."""
