"""Verification of a whole ledger: every row, node, root and signature, and what witnesses saw.

A ledger proves by itself that nothing in it was changed. That nothing was taken off its end, or
that it is not an old copy, only an outside memory can tell: give it the witnesses' heads.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from governance.ledger import merkle
from governance.ledger.checkpoint import Checkpoint, open_checkpoint
from governance.ledger.errors import EntryError, LedgerError, NoteError
from governance.ledger.kinds import entry
from governance.ledger.merkle import Hash
from governance.ledger.note import NoteKey
from governance.ledger.read import Reader, Row, reading
from governance.ledger.schema import TRIGGERS

MOST_FINDINGS = 100


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, and where."""

    reason: str
    sentence: str


@dataclass(frozen=True)
class Verification:
    """What was looked at and what was found; sound if nothing was.

    `witnessed`: the greatest size that a witness vouches for; entries after it are the ledger's
    word alone.
    """

    origin: str
    size: int
    root: Hash
    witnessed: int
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        """Nothing was found."""
        return not self.findings


class _Check:
    """Findings while they are collected, up to a limit."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def found(self, reason: str, sentence: str) -> None:
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(Finding(reason, sentence))


def verify(
    path: Path,
    log: NoteKey,
    heads: Iterable[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Verify the ledger at `path` against the log's key and against heads seen elsewhere.

    `heads` are signed checkpoints from witnesses, approvers or old exports. `progress` is told
    (entries done, entries in all).

    Raises:
        LedgerUnavailableError: it cannot be read at all.

    """
    check = _Check()
    with reading(path) as reader:
        _file(reader, check)
        roots = _entries(reader, check, progress)
        signed = _checkpoints(reader, log, roots, check)
        _nonces(reader, check)
        if reader.origin != log.name:
            check.found("other_log", f"the file is the log {reader.origin}, not {log.name}")
    witnessed = _witnesses(heads, log, roots, signed, check)
    size = len(roots) - 1
    return Verification(log.name, size, roots[size], witnessed, tuple(check.findings))


def _file(reader: Reader, check: _Check) -> None:
    for (said,) in reader.connection.execute("PRAGMA integrity_check(10)"):
        if said != "ok":
            check.found("file_damaged", f"SQLite's own check: {said}")
    query = "SELECT name FROM sqlite_schema WHERE type = 'trigger'"
    there = {name for (name,) in reader.connection.execute(query)}
    if missing := TRIGGERS - there:
        check.found(
            "triggers_missing", f"triggers that keep it append-only are gone: {sorted(missing)}"
        )


def _entries(
    reader: Reader, check: _Check, progress: Callable[[int, int], None] | None
) -> list[Hash]:
    """Check every row and stored node; give the root of every size, from the rows alone."""
    size = reader.size
    roots = [merkle.EMPTY_ROOT]
    nodes: dict[tuple[int, int], Hash] = {}
    for place, row in enumerate(reader.rows()):
        if row.index != place:
            check.found("entry_missing", f"entry {place} is missing; {row.index} comes next")
            break
        for level, index, value in merkle.added_nodes(
            place, _leaf(row, check), lambda level, index: nodes[level, index]
        ):
            nodes[level, index] = value
            _node(reader, level, index, value, check)
            # Its two children are never read again.
            for child in (2 * index, 2 * index + 1):
                nodes.pop((level - 1, child), None)
        roots.append(_root(place + 1, nodes))
        if progress is not None:
            progress(place + 1, size)
    stored = reader.connection.execute("SELECT count(*) FROM nodes").fetchone()[0]
    needed = sum((len(roots) - 1) >> level for level in range(len(roots).bit_length()))
    if stored > needed:
        check.found("nodes_left_over", f"{stored - needed} nodes belong to no entry")
    return roots


def _leaf(row: Row, check: _Check) -> Hash:
    try:
        entry(row.kind, row.body, row.key)
    except EntryError as error:
        check.found("bad_entry", f"entry {row.index} is none that the ledger takes: {error}")
    return merkle.leaf_hash(f"{row.kind}\n{row.key}\n".encode() + bytes(row.body))


def _root(size: int, nodes: dict[tuple[int, int], Hash]) -> Hash:
    return merkle.tree_root(size, lambda level, index: nodes[level, index])


def _node(reader: Reader, level: int, index: int, value: Hash, check: _Check) -> None:
    try:
        same = reader.node(level, index) == value
    except LedgerError:
        check.found("node_missing", f"node ({level}, {index}) is missing")
        return
    if same:
        return
    if level == 0:
        check.found("entry_changed", f"entry {index} is not what was logged")
    else:
        check.found("node_changed", f"node ({level}, {index}) is not the hash of what is below it")


def _checkpoints(reader: Reader, log: NoteKey, roots: list[Hash], check: _Check) -> dict[str, int]:
    """Check every signed head; give those that are right, with their sizes."""
    right: dict[str, int] = {}
    expected = 0
    for size, note in reader.checkpoints():
        if size != expected:
            check.found("checkpoint_missing", f"checkpoints from {expected} to {size} are missing")
        expected = size + 1
        try:
            signed, _ = open_checkpoint(note, log)
        except NoteError as error:
            reason = (
                "rechained" if error.reason in ("bad_signature", "not_signed") else error.reason
            )
            check.found(reason, f"the checkpoint of size {size}: {error}")
            continue
        if size >= len(roots):
            check.found(
                "truncated", f"a signed head tells of {size} entries; there are {len(roots) - 1}"
            )
        elif signed != Checkpoint(log.name, size, roots[size]):
            check.found("root_mismatch", f"the signed head of size {size} is not that of the rows")
        else:
            right[note] = size
    if expected < len(roots):
        check.found("checkpoint_missing", f"no signed head covers entry {len(roots) - 2}")
    return right


def _nonces(reader: Reader, check: _Check) -> None:
    used: dict[str, int] = {}
    for row in reader.rows():
        try:
            nonces = row.entry().nonces
        except EntryError:
            continue
        for nonce in nonces:
            if nonce in used:
                check.found("nonce_used", f"{nonce} is in entries {used[nonce]} and {row.index}")
            used[nonce] = row.index
    if used != dict(reader.nonces()):
        check.found("nonces_changed", "the table of used nonces is not that of the entries")


def _witnesses(
    heads: Iterable[str], log: NoteKey, roots: list[Hash], right: dict[str, int], check: _Check
) -> int:
    seen = 0
    for note in heads:
        if note in right:
            seen = max(seen, right[note])
            continue
        try:
            head, _ = open_checkpoint(note, log)
        except NoteError as error:
            check.found("witness_" + error.reason, f"a witness's head: {error}")
            continue
        if head.size >= len(roots):
            check.found(
                "behind_witness",
                f"a witness saw {head.size} entries, the ledger has {len(roots) - 1}: entries were "
                "taken off, or this is an old copy",
            )
        elif head.root != roots[head.size]:
            check.found("forked", f"a witness saw another history of the first {head.size} entries")
        else:
            seen = max(seen, head.size)
    return seen
