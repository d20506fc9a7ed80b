"""docs/states.md from the table: a diagram, the states, the transitions, Modelsmith's states."""

from governance.states.guards import GUARDS
from governance.states.table import FINAL, MODELSMITH, REVIEW_SECONDS, STATES, TABLE, Transition

BRANCHES = {
    "shadow_result": (("shadowing", "rejected", "FAIL"), ("shadowing", "exported", "INCONCLUSIVE")),
    "canary_result": (("canary", "rejected", "FAIL"), ("canary", "exported", "INCONCLUSIVE")),
    "promote_done": (("live", "superseded", "another is promoted"),),
    "rollback": (("superseded", "live", "a newer one is rolled back"),),
}
"""Edges that a result or another model's event makes; the tests take every one of them."""


def render() -> str:
    """Write the page."""
    return "\n".join(
        [
            "# A model's states",
            "",
            "Written by `python -m governance.states --write` from `governance/states/table.py`; "
            "a test keeps the two the same.",
            "",
            "```mermaid",
            "stateDiagram-v2",
            *(f"    {edge}" for edge in _edges()),
            "```",
            "",
            "| state | means |",
            "|---|---|",
            *(f"| `{s}`{' (final)' if s in FINAL else ''} | {m} |" for s, m in STATES.items()),
            "",
            "At most one digest of a model is `live` or `validated`: the incumbent. When another "
            "becomes live, every comparison with the one before is void.",
            "",
            "## Events",
            "",
            "| event | from | to | signed by | shows | refused unless | what happens |",
            "|---|---|---|---|---|---|---|",
            *(_row(name, row) for name, row in TABLE.items()),
            "",
            "Roles joined by “and” are different keys, of different persons; none of them may be "
            "the trainer that proposed the candidate. After a rollback or a broken glass `review` "
            f"falls due within {REVIEW_SECONDS // 3600} hours; once it is overdue nothing is "
            "promoted. A promotion is two entries: `promote_intent` before the swap, "
            "`promote_done` or `promote_failed` after it. A restart that finds no outcome asks "
            "the gateway what is live: the candidate makes it done, anything else failed.",
            "",
            "## Modelsmith's states",
            "",
            "| Modelsmith | here |",
            "|---|---|",
            *(
                f"| `{theirs}` | {', '.join(f'`{s}`' for s in ours)} |"
                for theirs, ours in MODELSMITH.items()
            ),
            "",
            "Theirs has no comparison on live traffic and no state for what was refused, rolled "
            "back or revoked; here those are `shadowing`, `canary`, `rejected`, `rolled_back` and "
            "`revoked`.",
            "",
        ]
    )


def _edges() -> list[str]:
    found = []
    for name, row in TABLE.items():
        if row.target is None:
            continue
        # Revocation leads from everywhere; drawn once, it would be most of the picture.
        sources = row.sources if name != "revoke" else ("live",)
        found += [f"{source or '[*]'} --> {row.target}: {name}" for source in sources]
    found += [
        f"{source} --> {target}: {name}, {why}"
        for name, branches in BRANCHES.items()
        for source, target, why in branches
    ]
    return [*found, *(f"{state} --> [*]" for state in STATES if state in FINAL)]


def _row(name: str, row: Transition) -> str:
    sources = ", ".join(f"`{source}`" if source else "nothing" for source in row.sources)
    if set(row.sources) == set(STATES):
        sources = "any"
    elif set(row.sources) == set(STATES) - FINAL:
        sources = "any that is not final"
    signed = " and ".join(row.all_of) or " or ".join(row.one_of)
    guards = ", ".join(name.replace("_", " ") for name in row.guards if name in GUARDS)
    target = f"`{row.target}`" if row.target else ""
    cells = [f"`{name}`", sources, target, signed, ", ".join(row.evidence), guards, row.does]
    return "| " + " | ".join(cells) + " |"
