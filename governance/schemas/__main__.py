"""Writes the published JSON Schemas from the types: `python -m governance.schemas`."""

import json
from pathlib import Path
from typing import Any

from governance import shape, statements
from governance.bundle.groups import GROUPS
from governance.bundle.manifest import Manifest
from governance.policy import Policy

FOLDER = Path(__file__).parent


def published() -> dict[str, str]:
    """Every schema's file name and text."""
    schemas = {name: statements.schema(name) for name in statements.KINDS}
    contradicts = "Canonical JSON; what contradicts itself is left to the parser."
    schemas["policy"] = _document("policy", "Policy", contradicts, Policy)
    schemas["bundle"] = _document("bundle", "Evidence bundle", contradicts, Manifest)
    for name, kind in GROUPS.items():
        told = (
            "Canonical JSON; which gate needs which field is in governance/bundle/requirements.py."
        )
        schemas[f"bundle-{name}"] = _document(f"bundle-{name}", f"Evidence: {name}", told, kind)
    return {f"{name}.json": json.dumps(found, indent=1) + "\n" for name, found in schemas.items()}


def _document(name: str, title: str, description: str, kind: type) -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:sluicegate:schema:{name}:v1",
        "title": title,
        "description": description,
        **shape.schema(kind),
    }


if __name__ == "__main__":
    for name, text in published().items():
        (FOLDER / name).write_text(text)
