"""Writes the published JSON Schemas from the types: `python -m governance.schemas`."""

import json
from pathlib import Path

from governance import shape, statements
from governance.policy import Policy

FOLDER = Path(__file__).parent


def published() -> dict[str, str]:
    """Every schema's file name and text."""
    schemas = {name: statements.schema(name) for name in statements.KINDS}
    schemas["policy"] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:sluicegate:schema:policy:v1",
        "title": "Policy",
        "description": "Canonical JSON; what contradicts itself is left to the parser.",
        **shape.schema(Policy),
    }
    return {f"{name}.json": json.dumps(found, indent=1) + "\n" for name, found in schemas.items()}


if __name__ == "__main__":
    for name, text in published().items():
        (FOLDER / name).write_text(text)
