"""Verification of a bundle, offline: the folder, the policy's versions and a pin, nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from governance.attestations import Evaluation, Provenance
from governance.bundle.errors import BundleError
from governance.bundle.evaluation import check_statement
from governance.bundle.folder import Bundle, assemble, read_group, read_statement, unlisted
from governance.bundle.groups import (
    Approvals,
    Change,
    Evaluated,
    Execution,
    Identity,
    Lineage,
    Rollback,
    Shadowed,
)
from governance.bundle.harm import harm
from governance.bundle.manifest import Manifest, read_listed, read_manifest
from governance.bundle.measure import check_runs, cost
from governance.bundle.measured import Serving
from governance.bundle.requirements import missing
from governance.bundle.signatures import Outcome, check_statements
from governance.checks import Checks
from governance.dsse import Envelope
from governance.errors import GovernanceError
from governance.model_directory import model_digest
from governance.policy_history import PolicyHistory
from governance.vocabulary import GATES


@dataclass(frozen=True)
class Verification:
    """What was looked at and what came of it.

    Attributes:
        checks: every check, findings and what could not be looked at among them.
        bundle: the bundle, if it could be read whole.
        history: the policy's versions, if they hold.
        outcome: what its statements come to.

    """

    checks: Checks
    bundle: Bundle | None
    history: PolicyHistory | None
    outcome: Outcome

    @property
    def sound(self) -> bool:
        """Nothing was found."""
        return not self.checks.findings


def verify(
    root: Path,
    chain: Sequence[Envelope],
    pin: str,
    now: int,
    *,
    expect: str | None = None,
    model_folder: Path | None = None,
) -> Verification:
    """Verify everything about a bundle that can be verified without anybody's help.

    Args:
        root: the bundle's folder.
        chain: every version of the policy, from the first.
        pin: the first policy's digest, known from elsewhere.
        now: seconds since 1970 UTC.
        expect: the bundle's digest, where it is known from an approval or the ledger.
        model_folder: the model directory NAME/N, to compare its manifest with the candidate.

    """
    checks = Checks()
    bundle = _read(root, checks)
    history = None
    with checks.finding("policy"):
        history = PolicyHistory.read(chain, pin)
        newest = history.newest
        checks.holds("policy", f"version {newest.version} of '{newest.audience}', from the pin on")
    if bundle is None or history is None:
        return Verification(checks, bundle, history, Outcome())
    if expect is not None:
        _expected(bundle, expect, checks)
    outcome = check_statements(bundle, history, now, checks)
    check_documents(bundle, checks)
    _gates(bundle, checks)
    _model(bundle, model_folder, checks)
    checks.unchecked("ledger", "that these statements are in the ledger: `sluicegate audit`")
    return Verification(checks, bundle, history, outcome)


def _read(root: Path, checks: Checks) -> Bundle | None:
    """Hash and read every file; several may be wrong, and each is told."""
    try:
        manifest = read_manifest(root)
    except GovernanceError as error:
        checks.fails("bundle.json", error.reason, str(error))
        return None
    for path in unlisted(root, manifest):
        checks.fails(path, "unlisted_file", f"{path} is there and not listed")
    before = len(checks.findings)
    data: dict[str, bytes] = {}
    for entry in manifest.files:
        with checks.finding(entry.path):
            data[entry.path] = read_listed(root, entry)
            _read_document(entry.path, data[entry.path], manifest)
    if len(checks.findings) > before:
        return None
    try:
        bundle = assemble(root, manifest, data)
    except GovernanceError as error:
        checks.fails("bundle.json", error.reason, str(error))
        return None
    size = sum(entry.size for entry in manifest.files)
    checks.holds("files", f"{len(manifest.files)} files of {size:,} bytes, {bundle.digest}")
    return bundle


def _read_document(path: str, data: bytes, manifest: Manifest) -> None:
    if path.startswith("statements/"):
        read_statement(path, data, manifest)
    elif "/" not in path:
        read_group(path, data)


def _expected(bundle: Bundle, expect: str, checks: Checks) -> None:
    if expect == bundle.digest:
        checks.holds("digest", "the one that was expected")
    elif expect in bundle.digests:
        checks.holds("digest", f"the bundle has grown since it was {expect}")
    else:
        checks.fails(
            "digest", "other_evidence", f"the bundle is {bundle.digest} and never was {expect}"
        )


def check_documents(bundle: Bundle, checks: Checks) -> None:
    """What the documents say of each other, and what can be derived again."""
    for check in (_identity, _lineage, _evaluation, _serving, _shadow, _change, _named):
        with checks.finding(check.__name__.removeprefix("_")):
            check(bundle, checks)


def _identity(bundle: Bundle, checks: Checks) -> None:
    said = bundle.group(Identity)
    if said.candidate not in (None, bundle.candidate) or said.model not in (None, bundle.model):
        raise BundleError(
            "other_candidate",
            f"identity.json is about {said.model} {said.candidate}",
            expected=f"{bundle.model} {bundle.candidate}",
        )
    checks.holds("identity", f"{bundle.model} {bundle.candidate}")


def _lineage(bundle: Bundle, checks: Checks) -> None:
    said = bundle.group(Lineage)
    if said.provenance is None:
        return
    signed = bundle.statements.get(said.provenance)
    if signed is None or not isinstance(signed.statement.predicate, Provenance):
        raise BundleError(
            "other_provenance", f"lineage.json names {said.provenance}, no provenance of the bundle"
        )
    used = signed.statement.predicate.build_definition.resolved_dependencies
    known = {"sha256:" + resource.digest.sha256 for resource in used}
    # What was held out was not trained on, and so is not among what the training was made from.
    wanted = {d.digest for d in said.data_sets or () if d.used_for != "held_out"}
    wanted |= {said.code.digest} if said.code is not None else set()
    if unknown := wanted - known:
        raise BundleError(
            "lineage_differs", f"{min(unknown)} is in lineage.json and not in the signed provenance"
        )
    for held in (d for d in said.data_sets or () if d.used_for == "held_out"):
        if held.digest in known:
            raise BundleError("held_out_used", f"{held.name} was held out and trained on")
    checks.holds("lineage", "data sets and code are those of the signed provenance")


def _evaluation(bundle: Bundle, checks: Checks) -> None:
    table = bundle.groups.get("evaluation")
    statements = list(bundle.of(Evaluation))
    if not isinstance(table, Evaluated) or not statements:
        checks.unchecked("evaluation", "there is no table of figures with a signed evaluation yet")
        return
    digest = "sha256:" + bundle.manifest.by_path["evaluation.json"].sha256
    refused: list[GovernanceError] = []
    for _, statement in statements:
        try:
            sentence = check_statement(statement.predicate, table, digest)
        except BundleError as error:
            refused.append(error)
        else:
            checks.holds(
                "evaluation", f"{statement.predicate.result}, the same from its figures: {sentence}"
            )
            return
    raise refused[-1]


def _serving(bundle: Bundle, checks: Checks) -> None:
    said = bundle.group(Serving)
    for run in check_runs(bundle.files, said):
        checks.holds("serving", f"{run.report}: latencies and rates are those of the raw report")
    for own in (said.candidate, said.capacity):
        if own is not None and own.model != bundle.candidate:
            raise BundleError("other_candidate", f"{own.report} measured {own.model}")
    if said.with_shadow is not None:
        found = float(harm(said))
        checks.holds("shadow's cost", f"the live model's p99 was {found:.3f} times that without")
    if said.cost is not None:
        if said.capacity is None or said.cost.run != said.capacity.report:
            raise BundleError("missing_measurement", "the cost is of no run of the bundle")
        told = said.cost
        again = cost(said.capacity, told.price_per_core_hour, told.server_cores, told.currency)
        if again != told:
            raise BundleError(
                "cost_differs", f"serving.json says {told.per_million}, its run {again.per_million}"
            )
        checks.holds("cost", f"{told.per_million} {told.currency} a million decisions, as derived")


def _shadow(bundle: Bundle, checks: Checks) -> None:
    report = bundle.group(Shadowed).report
    if report is None:
        return
    if report not in bundle.statements:
        raise BundleError("other_report", f"shadow.json names {report}, not in the bundle")
    checks.holds("shadow", "names a report of this bundle")


def _change(bundle: Bundle, checks: Checks) -> None:
    change, back = bundle.group(Change), bundle.group(Rollback)
    if change.first and change.expected_incumbent is not None:
        raise BundleError("contradiction", "change.json says that it is the first, and before what")
    if None not in (change.expected_incumbent, back.previous):
        if change.expected_incumbent != back.previous:
            raise BundleError(
                "contradiction",
                f"it takes the place of {change.expected_incumbent} and goes back to "
                f"{back.previous}",
            )
        checks.holds("rollback", "goes back to the model that it takes the place of")
    said = bundle.group(Serving)
    for run in said.runs:
        other = change.expected_incumbent not in (None, run.model)
        if other and run not in (said.candidate, said.capacity):
            raise BundleError("contradiction", f"{run.report} measured another incumbent")


def _named(bundle: Bundle, checks: Checks) -> None:
    """Statements that documents name are there."""
    named = set(bundle.group(Approvals).statements or ())
    if (deployment := bundle.group(Execution).deployment) is not None:
        named.add(deployment)
    if absent := named - bundle.statements.keys():
        raise BundleError("missing_statement", f"{min(absent)} is named and not in the bundle")
    if named:
        checks.holds("statements", f"{len(named)} that documents name are there")


def _gates(bundle: Bundle, checks: Checks) -> None:
    for gate in GATES:
        if lacking := missing(bundle, gate):
            checks.open(f"gate {gate}", f"not there yet: {', '.join(lacking)}")
        else:
            checks.holds(f"gate {gate}", "every field that it needs is there")


def _model(bundle: Bundle, folder: Path | None, checks: Checks) -> None:
    if folder is None:
        checks.unchecked("model directory", "its files: name the folder with --model-dir")
        return
    with checks.finding("model directory"):
        found = model_digest(folder)
        if found != bundle.candidate:
            raise BundleError("other_model", f"{folder} holds {found}", expected=bundle.candidate)
        checks.holds("model directory", f"every file of {folder} is the candidate's")
