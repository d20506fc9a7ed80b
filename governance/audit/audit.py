"""The audit of a governance folder, offline: policy chain, ledger, every entry, what is live."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from governance.audit.errors import AuditError
from governance.audit.events import LOOKS, revealed, revocation
from governance.audit.evidence import Evidence
from governance.audit.live import check_live
from governance.bundle.folder import open_bundle
from governance.bundle.requirements import missing
from governance.bundle.verify import check_documents
from governance.checks import Checks
from governance.dsse import Envelope
from governance.home import Home
from governance.ledger.answers import seen_by
from governance.ledger.checkpoint import open_checkpoint
from governance.ledger.errors import LedgerError, NoteError
from governance.ledger.kinds import parse_body
from governance.ledger.note import NoteKey
from governance.ledger.read import Reader, Row, reading
from governance.ledger.verify import Verification
from governance.ledger.verify import verify as verify_ledger
from governance.policy_history import PolicyHistory
from governance.predicates import Deployment
from governance.states.fold import apply
from governance.states.model import Registry, event
from governance.states.table import TABLE

Progress = Callable[[str, int, int], None]
_TARGETS: Final = {
    "key_revoked": "key",
    "approval_revoked": "approval",
    "dataset_revoked": "dataset",
}


@dataclass(frozen=True)
class Audit:
    """What was looked at and what came of it.

    Attributes:
        checks: every check.
        history: the policy's versions, if they hold.
        ledger: what its own verification gave, if it could be read.
        registry: the models' states, folded from the ledger.
        events: how many entries of each kind there are.
        statements: how many statements are kept.

    """

    checks: Checks
    history: PolicyHistory | None
    ledger: Verification | None
    registry: Registry
    events: dict[str, int]
    statements: int

    @property
    def agrees(self) -> bool:
        """Nothing was found."""
        return not self.checks.findings


def audit(
    root: Path,
    pin: str,
    *,
    witnesses: Sequence[str] = (),
    models: Path | None = None,
    progress: Progress = lambda _what, _done, _total: None,
) -> Audit:
    """Recompute everything that a governance folder says, from its files alone.

    Nothing is written, so a copy that may only be read will do. The present does not matter: every
    entry is judged as of its own time.

    Args:
        root: the folder.
        pin: the first policy's digest, known from elsewhere; the folder's own is not believed.
        witnesses: outside witnesses, as `ledger.answers.seen_by` takes them.
        models: the model repository, to compare what is live with its files.
        progress: told what is done, how many of it and of how many.

    """
    checks, home = Checks(), Home(root)
    history = _policies(home, pin, checks)
    kept = _statements(home, checks, progress)
    if history is None:
        return Audit(checks, None, None, Registry(), {}, kept)
    events: dict[str, int] = {}
    ledger, registry = None, Registry()
    with checks.finding("ledger"), reading(home.ledger) as reader:
        key = _log_key(reader, history)
        ledger = _ledger(home, key, witnesses, checks, progress)
        found = Evidence(home, history, reader.root)
        _entries(found, reader, events, checks, progress)
        for part in found.untold.values():
            checks.unchecked(
                f"seed of {part.gateway}", "it was not told, so nobody can draw its pairs again"
            )
        registry = found.registry
        check_live(found, models, checks)
        _bundles(found, checks, progress)
    if not witnesses:
        checks.unchecked(
            "witness", "that no entry was taken off the ledger's end: give --witness FILE"
        )
    return Audit(checks, history, ledger, registry, events, kept)


def _policies(home: Home, pin: str, checks: Checks) -> PolicyHistory | None:
    chain: list[Envelope] = []
    history = None
    with checks.finding("pin"):
        kept = home.root / "pin"
        # The gateway believes this file; whoever changes it chooses whom the gateway believes.
        if kept.is_file() and (told := kept.read_text().strip()) != pin:
            raise AuditError("other_pin", f"the folder is pinned to {told[:80]}", expected=pin)
    with checks.finding("policy"):
        while (path := home.root / "policies" / f"{len(chain) + 1}.json").is_file():
            chain.append(Envelope.from_json(path.read_bytes()))
        history = PolicyHistory.read(chain, pin)
        checks.holds("policy", f"{len(chain)} versions, each signed by the roots before it")
    return history


def _statements(home: Home, checks: Checks, progress: Progress) -> int:
    """Every kept statement is what its name says, whether the ledger names it or not."""
    kept = home.statements()
    for place, digest in enumerate(kept):
        with checks.finding(f"statements/{digest[7:26]}…"):
            home.statement(digest)
        progress("statements", place + 1, len(kept))
    return len(kept)


def _log_key(reader: Reader, history: PolicyHistory) -> NoteKey:
    """The ledger's key: of those that the policy gives that role the one that signed the head."""
    keys = [key for key in history.keys.values() if "ledger" in key.roles]
    if not keys:
        raise LedgerError("no_ledger_key", "no version of the policy has a key for the ledger")
    known = [NoteKey(reader.origin, key.public_key) for key in keys]
    for key in known:
        try:
            open_checkpoint(reader.head, key)
        except NoteError:
            continue
        return key
    return known[-1]


def _ledger(
    home: Home, key: NoteKey, witnesses: Sequence[str], checks: Checks, progress: Progress
) -> Verification:
    heads: list[str] = []
    for told in witnesses:
        with checks.finding(f"witness {Path(told.partition(' ')[0]).name}"):
            heads += seen_by(told, key)
    found = verify_ledger(
        home.ledger, key, heads, lambda done, total: progress("ledger", done, total)
    )
    for finding in found.findings:
        checks.fails("ledger", finding.reason, finding.sentence)
    if found.sound:
        checks.holds("ledger", f"{found.size:,} entries, root {found.root.hex()}")
    if heads and found.witnessed < found.size:
        checks.unchecked("witness", f"witnesses saw {found.witnessed:,} of {found.size:,} entries")
    elif heads and found.sound:
        checks.holds("witness", f"saw all {found.size:,} entries")
    return found


def _entries(
    found: Evidence, reader: Reader, events: dict[str, int], checks: Checks, progress: Progress
) -> None:
    size = reader.size
    for place, row in enumerate(reader.rows()):
        events[row.kind] = events.get(row.kind, 0) + 1
        what = f"entry {row.index} ({row.kind})"
        with checks.finding(what):
            if row.kind in TABLE:
                _event(found, row, what, checks)
            else:
                _beside(found, row, what, checks)
        progress("entries", place + 1, size)


def _event(found: Evidence, row: Row, what: str, checks: Checks) -> None:
    entry = event(row.index, row.entry())
    try:
        sentence = LOOKS[row.kind](found, entry)
        checks.holds(what, f"{entry.model}: {sentence}")
    finally:
        # What is wrong with its statements is told; the entries after it still mean something.
        found.registry = apply(found.registry, entry)


def _beside(found: Evidence, row: Row, what: str, checks: Checks) -> None:
    body = parse_body(row.entry().body)
    if row.kind == "policy":
        version = found.history.by_digest(body["policy"]).version
        if version != body["version"] or version < found.followed:
            raise LedgerError("old_policy", f"version {version} after {found.followed}")
        found.followed = version
    elif row.kind == "seed":
        found.seeds.add(body["commitment"])
    elif row.kind == "seed_revealed":
        checks.holds(what, f"{body['model']}: {revealed(found, body['model'], body)}")
    elif row.kind in _TARGETS:
        said, who = revocation(found, body["revocation"], body["at"])
        if (said.what, said.target) != (_TARGETS[row.kind], body[_TARGETS[row.kind]]):
            raise LedgerError("other_revocation", f"the revocation is of {said.what} {said.target}")
        checks.holds(what, f"{said.what} revoked {who}")
    elif row.kind == "acknowledged":
        found.statement(body["deployment"], Deployment)


def _bundles(found: Evidence, checks: Checks, progress: Progress) -> None:
    """Every candidate's bundle that is kept is whole, the rejected ones' as well."""
    known = [(m, d) for m, state in found.registry.models.items() for d in state.candidates]
    for place, (model, digest) in enumerate(known):
        root = found.home.bundle(model, digest)
        if root.exists():
            _bundle(found, model, digest, checks)
        progress("bundles", place + 1, len(known))


def _bundle(found: Evidence, model: str, digest: str, checks: Checks) -> None:
    """Its statements are looked at where the ledger names them; here its documents."""
    what = f"bundle of {model}, {digest[:19]}…"
    with checks.finding(what):
        bundle = open_bundle(found.home.bundle(model, digest))
        documents = Checks()
        check_documents(bundle, documents)
        for line in documents.findings:
            checks.fails(f"{what}: {line.what}", line.reason, line.sentence)
        checks.holds(what, f"{len(bundle.manifest.files)} files, {bundle.digest}")
        live = digest == found.registry.model(model).incumbent
        if live and (lacking := missing(bundle, "promote")):
            checks.open(
                what,
                f"live, and {len(lacking)} fields that the gate 'promote' needs are not there, "
                f"first {lacking[0]}: `sluicegate bundle show`",
            )
