"""What the folder says is live, against the ledger, the statements and the model directories."""

from contextlib import suppress
from pathlib import Path

from governance.attestations import Provenance
from governance.audit.errors import AuditError
from governance.audit.evidence import Evidence
from governance.checks import Checks
from governance.errors import GovernanceError
from governance.home import Live
from governance.model_directory import find_model, model_digest
from governance.service_verifier import verify_for_serving
from governance.statements import parse


def check_live(found: Evidence, models: Path | None, checks: Checks) -> None:
    """Every live record is backed by a deployment that the ledger names and that still holds."""
    ledger = {n for n, state in found.registry.models.items() if state.incumbent is not None}
    for model in sorted(ledger | set(found.home.models())):
        what = f"live {model}"
        with checks.finding(what):
            live = found.home.live(model)
            state = found.registry.model(model)
            if state.intent is not None:
                checks.open(what, f"{state.intent.candidate} is being promoted; no outcome yet")
            if live is None:
                raise AuditError("live_missing", f"{state.incumbent} is live by the ledger alone")
            # Between intent and outcome the folder is one step ahead of the ledger.
            intended = state.intent.candidate if state.intent is not None else None
            if live.model_digest not in (state.incumbent, intended):
                raise AuditError(
                    "live_differs",
                    f"the folder says that {live.model_digest} is live",
                    expected=str(state.incumbent),
                )
            if live.model_digest != intended:
                _backed(found, model, live.model_digest, live.deployment)
            _previous(found, model, live)
            checks.holds(what, f"{live.model_digest}, by a deployment that holds")
        if models is None:
            checks.unchecked(f"model directory of {model}", "its files: give --models REPOSITORY")
        else:
            _directories(found, model, models, checks)


def _backed(found: Evidence, model: str, digest: str, deployment: str) -> None:
    if deployment not in found.deployments.get((model, digest), set()):
        raise AuditError(
            "other_deployment", f"no promotion of {digest} in the ledger has {deployment}"
        )
    verify_for_serving(
        digest,
        found.home.statement(deployment),
        found.history.newest,
        found.revocations,
        model=model,
        datasets=_data_sets(found, model, digest),
    )


def _previous(found: Evidence, model: str, live: Live) -> None:
    state = found.registry.model(model)
    if live.previous_model is None or live.previous_deployment is None:
        return
    if state.previous not in (None, live.previous_model) and state.intent is None:
        raise AuditError(
            "previous_differs",
            f"the folder would roll back to {live.previous_model}",
            expected=str(state.previous),
        )
    if live.previous_deployment not in found.deployments.get((model, live.previous_model), set()):
        raise AuditError(
            "previous_differs",
            f"no promotion of {live.previous_model} in the ledger has {live.previous_deployment}",
        )


def _data_sets(found: Evidence, model: str, digest: str) -> list[str]:
    """Digests of what a model was made from, by the provenance that the ledger names."""
    data: list[str] = []
    for named in sorted(found.named):
        with suppress(GovernanceError):
            statement = parse(found.home.statement(named).payload, Provenance)
            if (statement.name, statement.digest) == (model, digest):
                used = statement.predicate.build_definition.resolved_dependencies
                data += [f"sha256:{resource.digest.sha256}" for resource in used]
    return data


def _directories(found: Evidence, model: str, models: Path, checks: Checks) -> None:
    state = found.registry.model(model)
    for digest in (state.incumbent, state.previous):
        if digest is None:
            continue
        what = f"model directory of {model}, {digest[:19]}…"
        with checks.finding(what):
            folder = find_model(models, model, digest)
            if folder is None:
                raise AuditError("no_model", f"{models / model} holds no version {digest}")
            model_digest(folder)
            checks.holds(what, f"every file of {folder} is the manifest's")
