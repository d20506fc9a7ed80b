"""What the trainer signs: where a candidate is from, and how it tested."""

from __future__ import annotations

from governance import canonical, shape
from governance.attestations import (
    BuildDefinition,
    Builder,
    BuildMetadata,
    DigestSet,
    Evaluation,
    Provenance,
    Resource,
    RunDetails,
)
from governance.bundle.evaluation import tests
from governance.bundle.groups import Evaluated
from governance.statements import Statement
from trainer.propose.documents import Parts, data_sets, decimal, resources

BUILD_TYPE = "urn:sluicegate:trainer:loop"


def provenance(parts: Parts) -> Statement[Provenance]:
    """Data that was trained on, code, packages and parameters."""
    best = parts.given.best
    used = [
        _resource(one.name, one.digest) for one in data_sets(parts) if one.used_for != "held_out"
    ]
    used += [
        _resource("trainer", parts.origin.code),
        _resource("environment.txt", parts.origin.lock_file),
    ]
    made = Provenance(
        BuildDefinition(
            BUILD_TYPE,
            {
                "method": best.method,
                "parameters": {name: decimal(v) for name, v in best.parameters.items()},
                "seed": parts.spec.seed,
                "confined": best.confined,
            },
            tuple(used),
        ),
        RunDetails(Builder(BUILD_TYPE), BuildMetadata(parts.given.run)),
    )
    return Statement(parts.spec.name, parts.packed.digest, made)


def evaluation(parts: Parts, table: Evaluated) -> Statement[Evaluation]:
    """The outcome of the table's tests; it names the table, the suites and the lock."""
    outcome = tests(table)
    named = {**resources(parts), "locked thresholds": parts.locked.digest}
    named["evaluation.json"] = canonical.digest(canonical.encode(shape.write(table)))
    named.pop("training cases")
    made = Evaluation(
        result="PASSED" if all(outcome.values()) else "FAILED",
        configuration=tuple(_resource(name, digest) for name, digest in named.items()),
        passed_tests=tuple(name for name, holds in outcome.items() if holds),
        failed_tests=tuple(name for name, holds in outcome.items() if not holds),
    )
    return Statement(parts.spec.name, parts.packed.digest, made)


def _resource(name: str, digest: str) -> Resource:
    return Resource(name, DigestSet(digest.removeprefix("sha256:")))
