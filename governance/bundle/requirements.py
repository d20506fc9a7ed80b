"""What evidence each gate needs. Data, and one function that looks it up.

A path is `GROUP.field` with the names of the document, or `statements.KIND`: at least one statement
of that kind is there. A gate needs what the gates before it need as well. A field is there if it is
not absent; a list may be empty where that is allowed and then says that there is none.
"""

from collections.abc import Mapping
from typing import Final

from governance import shape
from governance.bundle.errors import BundleError
from governance.bundle.folder import Bundle
from governance.bundle.groups import Change
from governance.statements import KINDS
from governance.vocabulary import GATES, Gate

ADDED: Final[Mapping[Gate, tuple[str, ...]]] = {
    "accept_eval": (
        "identity.model",
        "identity.candidate",
        "lineage.provenance",
        "lineage.dataSets",
        "lineage.code",
        "lineage.clean",
        "lineage.lockFile",
        "lineage.method",
        "lineage.parameters",
        "lineage.seeds",
        "evaluation.run",
        "evaluation.metrics",
        "evaluation.segments",
        "evaluation.calibration",
        "evaluation.baselines",
        "evaluation.balance",
        "evaluation.regressions",
        "evaluation.knownLimits",
        "evaluation.heldOutLooks",
        "statements.provenance",
        "statements.evaluation",
    ),
    "export": (
        "identity.version",
        "identity.loader",
        "identity.engine",
        "identity.weights",
        "identity.contract",
        "lineage.featureSet",
        "purpose.intendedUse",
        "purpose.prohibitedUse",
        "purpose.materiality",
        "purpose.jurisdictions",
        "purpose.owner",
        "purpose.vendor",
    ),
    "shadow": (
        "purpose.validator",
        "change.summary",
        "change.reason",
        "change.changes",
        "change.predetermined",
        "risk.failureClusters",
        "risk.remaining",
        "serving.machine",
        "serving.serverCores",
        "serving.generatorCores",
        "serving.candidate",
    ),
    "promote": (
        "serving.capacity",
        "serving.cost",
        "explanation.reasonCodes",
        "explanation.method",
        "explanation.methodVersion",
        "explanation.cases",
        "approval.conflicts",
        "approval.dissent",
        "change.ticket",
        "change.windowBegins",
        "change.windowEnds",
        "rollback.triggers",
        "rollback.owner",
        "rollback.recovery",
        "post.monitoring",
        "post.reviewDate",
    ),
    "validate": (
        "approval.statements",
        "execution.intentIndex",
        "execution.outcomeIndex",
        "execution.deployment",
        "execution.gateway",
        "execution.build",
        "execution.clockSource",
        "execution.effective",
        "post.incidents",
        "statements.approval",
        "statements.deployment",
    ),
}
"""What each gate asks for beyond the gates before it."""

IN_PLACE_OF_ANOTHER: Final[Mapping[Gate, tuple[str, ...]]] = {
    "shadow": ("change.expectedIncumbent",),
    "promote": (
        "serving.incumbent",
        "shadow.report",
        "shadow.sampling",
        "explanation.agreement",
        "explanation.stability",
        "explanation.top",
        "rollback.previous",
        "rollback.resident",
        "rollback.drill",
        "statements.shadow-report",
    ),
}
"""Asked for as well unless it is the first model of its name (`change.first` is true).

Whether that is so is not the bundle's to say: the state machine lets a model without a comparison
through only while nothing is live.
"""


def required(gate: Gate, *, first: bool = False) -> tuple[str, ...]:
    """Every path that a gate needs, in order; `first`: there is no model before it."""
    found: list[str] = []
    for name in GATES[: GATES.index(gate) + 1]:
        found += ADDED[name]
        found += () if first else IN_PLACE_OF_ANOTHER.get(name, ())
    return tuple(found)


def missing(bundle: Bundle, gate: Gate) -> tuple[str, ...]:
    """Which of the paths that a gate needs are not there."""
    first = bundle.group(Change).first is True
    return tuple(path for path in required(gate, first=first) if not _there(bundle, path))


def check(bundle: Bundle, gate: Gate) -> None:
    """Refuse a bundle that lacks what a gate needs.

    Raises:
        BundleError: the reason is `missing:` and the first path that is not there.

    """
    lacking = missing(bundle, gate)
    if lacking:
        raise BundleError(
            f"missing:{lacking[0]}",
            f"the gate '{gate}' needs {', '.join(lacking)}",
            remedy="add it: `sluicegate bundle add`",
        )


def _there(bundle: Bundle, path: str) -> bool:
    group, _, name = path.partition(".")
    if group == "statements":
        return next(bundle.of(KINDS[name]), None) is not None
    document = bundle.groups.get(group)
    return document is not None and name in shape.write(document)
