"""Files that leave the ledger: all entries as JSON lines, or one entry with its proof.

The proof of one entry is a c2sp.org/tlog-proof: its `extra` is the entry itself, so that one small
text, the log's key and nothing else are enough to check it.
"""

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from governance.ledger import merkle
from governance.ledger.checkpoint import Checkpoint, open_checkpoint
from governance.ledger.errors import EntryError, LedgerError, NoteError, ProofError
from governance.ledger.kinds import Entry, entry, parse_leaf
from governance.ledger.note import NoteKey, unbase64
from governance.ledger.read import Reader

PROOF = "c2sp.org/tlog-proof@v1"
LONGEST_PROOF = 64


def export_lines(
    reader: Reader, progress: Callable[[int, int], None] | None = None
) -> Iterator[str]:
    """Every entry as one JSON line, oldest first, and the head as the last line."""
    head = reader.head
    size = int(head.split("\n")[1])
    for row in reader.rows(0, size):
        body = row.body.decode()
        yield (
            f'{{"body":{body},"index":{row.index},"key":{json.dumps(row.key)},'
            f'"kind":{json.dumps(row.kind)}}}'
        )
        if progress is not None:
            progress(row.index + 1, size)
    yield json.dumps({"checkpoint": head})


def read_export(lines: Iterable[str], log: NoteKey) -> tuple[list[Entry], Checkpoint]:
    """Read an export and check that its entries are those under the signed head.

    Raises:
        EntryError: a line is not an entry.
        NoteError: the head is not signed by this log.
        ProofError: the entries are not those that were signed.

    """
    entries: list[Entry] = []
    note = None
    for line in lines:
        if note is not None:
            raise EntryError("bad_export", "there are lines after the checkpoint")
        value = _line(line)
        if "checkpoint" in value:
            note = str(value["checkpoint"])
            continue
        if value.keys() != {"body", "index", "key", "kind"} or value["index"] != len(entries):
            raise EntryError("bad_export", f"line {len(entries) + 1} is not entry {len(entries)}")
        body = json.dumps(value["body"], sort_keys=True, separators=(",", ":")).encode()
        entries.append(entry(str(value["kind"]), body, str(value["key"])))
    if note is None:
        raise NoteError("not_signed", "the export has no checkpoint at its end: it was cut off")
    head, _ = open_checkpoint(note, log)
    nodes: dict[tuple[int, int], bytes] = {}
    for index, found in enumerate(entries):
        for level, at, hashed in merkle.added_nodes(
            index, merkle.leaf_hash(found.leaf), lambda level, at: nodes[level, at]
        ):
            nodes[level, at] = hashed
    root = merkle.tree_root(len(entries), lambda level, at: nodes[level, at])
    if (head.size, head.root) != (len(entries), root):
        raise ProofError(
            "root_mismatch", f"the {len(entries)} entries are not those of the head of {head.size}"
        )
    return entries, head


def _line(line: str) -> dict[str, object]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise EntryError("bad_export", f"a line is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise EntryError("bad_export", "a line is not an object")
    return value


@dataclass(frozen=True)
class Proven:
    """An entry that is in the log, and the head that says so."""

    index: int
    entry: Entry
    checkpoint: Checkpoint
    witnesses: tuple[str, ...]


def prove(reader: Reader, index: int, head: str | None = None) -> str:
    """Write the proof that entry `index` is in the log.

    `head` is a note with cosignatures, as an append's receipt has it; the newest one if left out.

    Raises:
        ProofError: there is no such entry.

    """
    note = head if head is not None else reader.head
    size = int(note.split("\n")[1])
    path = reader.inclusion(index, size)
    (row,) = reader.rows(index, index + 1)
    lines = [PROOF, "extra " + _base64(row.entry().leaf), f"index {index}"]
    return "\n".join([*lines, *(_base64(step) for step in path), "", note])


def read_proof(text: str, log: NoteKey, witnesses: Iterable[NoteKey] = ()) -> Proven:
    """Check a proof offline.

    Raises:
        ProofError: it is not such a file, or the entry is not in the tree.
        NoteError: the head is not signed by this log, or a known cosignature does not hold.
        EntryError: what is proven is not an entry.

    """
    above, gap, note = text.partition("\n\n")
    lines = above.split("\n")
    if not gap or len(lines) < 3 or lines[0] != PROOF or len(lines) > LONGEST_PROOF + 3:
        raise ProofError("bad_proof", f"a proof begins with {PROOF}, then extra, index and hashes")
    extra, index = lines[1].removeprefix("extra "), lines[2].removeprefix("index ")
    whole = index.isascii() and index.isdigit() and len(index) < 19
    if extra == lines[1] or not whole or str(int(index)) != index:
        raise ProofError("bad_proof", "the lines of extra and index are not well formed")
    checkpoint, opened = open_checkpoint(note, log, witnesses)
    try:
        leaf = unbase64(extra, "bad_proof")
        path = [unbase64(line, "bad_proof") for line in lines[3:]]
    except LedgerError as error:
        raise ProofError("bad_proof", str(error)) from None
    merkle.verify_inclusion(
        merkle.leaf_hash(leaf), int(index), checkpoint.size, path, checkpoint.root
    )
    seen = tuple(key.name for key in opened.signers if key != log)
    return Proven(int(index), parse_leaf(leaf), checkpoint, seen)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
