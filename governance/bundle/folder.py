"""A bundle's folder: read whole, and grown by one step at a time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from governance import canonical, shape
from governance.bundle.errors import BundleError
from governance.bundle.groups import GROUPS, Group
from governance.bundle.manifest import (
    FORMAT,
    NAME,
    Manifest,
    chain_of,
    files_below,
    listed,
    read_listed,
    read_manifest,
)
from governance.dsse import Envelope
from governance.errors import GovernanceError, MalformedError
from governance.home import write
from governance.predicates import Predicate, Revocation
from governance.statements import Statement, check_payload_type, parse_any

G = TypeVar("G", bound=Group)
P = TypeVar("P", bound=Predicate)


@dataclass(frozen=True)
class Signed:
    """A statement of the bundle in its envelope. Who signed it is not checked here."""

    envelope: Envelope
    statement: Statement[Predicate]

    @property
    def digest(self) -> str:
        """The payload's digest."""
        return self.envelope.digest


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read whole.

    Attributes:
        root: its folder.
        manifest: what bundle.json says.
        history: the digests of this bundle.json and of those before, newest first.
        groups: the documents that are there, by name.
        statements: every signed statement, by its payload's digest.
        files: the bytes of measurements and attachments, by path.

    """

    root: Path
    manifest: Manifest
    history: tuple[Manifest, ...]
    groups: Mapping[str, Group]
    statements: Mapping[str, Signed]
    files: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        """The bundle's digest now."""
        return self.manifest.digest

    @property
    def model(self) -> str:
        """The model's name."""
        return self.manifest.model

    @property
    def candidate(self) -> str:
        """The candidate's digest."""
        return self.manifest.candidate

    @cached_property
    def digests(self) -> frozenset[str]:
        """Every digest that this bundle has had."""
        return frozenset(manifest.digest for manifest in self.history)

    def group(self, kind: type[G]) -> G:
        """A group's document; an empty one if it is not there yet."""
        for found in self.groups.values():
            if isinstance(found, kind):
                return found
        return kind()

    def of(self, kind: type[P]) -> Iterator[tuple[Envelope, Statement[P]]]:
        """Every statement of one kind."""
        for signed in self.statements.values():
            if isinstance(signed.statement.predicate, kind):
                yield signed.envelope, signed.statement  # type: ignore[misc]

    def since(self, digest: str) -> list[str]:
        """Which documents are other now than when the bundle had that digest; new ones are not.

        Raises:
            BundleError: it never had it (`other_evidence`).

        """
        for manifest in self.history:
            if manifest.digest == digest:
                now = self.manifest.by_path
                return [entry.path for entry in manifest.files if now.get(entry.path) != entry]
        raise BundleError("other_evidence", f"the bundle never had the digest {digest}")

    def added_since(self, digest: str) -> list[str]:
        """Which documents were not there yet when the bundle had that digest. Raises as `since`."""
        self.since(digest)
        before = next(m for m in self.history if m.digest == digest).by_path
        return [f"{name}.json" for name in self.groups if f"{name}.json" not in before]


def open_bundle(root: Path) -> Bundle:
    """Read a bundle: every file hashed, nothing unlisted, every document of its form.

    Raises:
        BundleError: `no_bundle`, `missing_file`, `file_changed`, `unlisted_file`, `link`,
            `history_missing`, `history_differs`, `wrong_name`, `other_candidate`.
        MalformedError: a document or a statement is not of its form.

    """
    manifest = read_manifest(root)
    for path in unlisted(root, manifest):
        raise BundleError("unlisted_file", f"{path} is there and not listed")
    data = {entry.path: read_listed(root, entry) for entry in manifest.files}
    return assemble(root, manifest, data)


def assemble(root: Path, manifest: Manifest, data: Mapping[str, bytes]) -> Bundle:
    """A bundle from files that were checked already. Raises as `open_bundle`."""
    groups: dict[str, Group] = {}
    statements: dict[str, Signed] = {}
    files: dict[str, bytes] = {}
    for path, held in data.items():
        folder, _, name = path.rpartition("/")
        if folder == "statements":
            signed = read_statement(path, held, manifest)
            statements[signed.digest] = signed
        elif not folder:
            groups[path.removesuffix(".json")] = read_group(path, held)
        elif folder != "history":
            files[f"{folder}/{name}"] = held
    return Bundle(root, manifest, tuple(chain_of(root, manifest)), groups, statements, files)


def read_group(path: str, data: bytes) -> Group:
    """A group's document.

    Raises:
        BundleError: there is no group of that name (`unknown_group`).
        MalformedError: it is not of its form.

    """
    name = path.removesuffix(".json")
    if name not in GROUPS:
        raise BundleError(
            "unknown_group", f"{path} is no group's document", expected=", ".join(GROUPS)
        )
    return shape.read(GROUPS[name], canonical.decode(data), name)


def read_statement(path: str, data: bytes, manifest: Manifest) -> Signed:
    """A statement that is kept under its payload's digest and is about this candidate.

    Raises:
        BundleError: `wrong_name` or `other_candidate`.
        MalformedError, StatementError: it is no statement.

    """
    envelope = Envelope.from_json(data)
    check_payload_type(envelope)
    if path != statement_path(envelope.digest):
        raise BundleError(
            "wrong_name", f"{path} holds the statement {envelope.digest}", expected=path
        )
    statement = parse_any(envelope.payload)
    about = (statement.name, statement.digest)
    # A key, an approval or a data set may be revoked that this candidate depends on.
    general = isinstance(statement.predicate, Revocation) and statement.predicate.what != "model"
    if about != (manifest.model, manifest.candidate) and not general:
        raise BundleError(
            "other_candidate",
            f"{path} is about {statement.name} {statement.digest}",
            expected=f"{manifest.model} {manifest.candidate}",
        )
    return Signed(envelope, statement)


def statement_path(digest: str) -> str:
    """Where a statement is kept."""
    return f"statements/{digest.removeprefix('sha256:')}.json"


def unlisted(root: Path, manifest: Manifest) -> list[str]:
    """What lies in the folder and is not listed."""
    return [path for path in files_below(root) if path not in manifest.by_path]


def create(root: Path, model: str, candidate: str) -> Bundle:
    """Begin a candidate's bundle in a folder that is new or empty.

    Raises:
        BundleError: something is there (`folder_not_empty`).
        MalformedError: name or digest are none.

    """
    if root.exists() and any(root.iterdir()):
        raise BundleError("folder_not_empty", f"{root} is not empty", remedy="name a new folder")
    manifest = _checked(Manifest(FORMAT, model, candidate, None, ()))
    write(root / NAME, manifest.payload)
    return open_bundle(root)


def add(
    root: Path,
    groups: Mapping[str, Group] | None = None,
    statements: Sequence[Envelope] = (),
    files: Mapping[str, bytes] | None = None,
) -> Bundle:
    """Add documents, statements and files; a group that is there already is replaced.

    What is there is verified first, so that nothing foreign becomes part of the bundle. The files
    are written before bundle.json; an addition that was interrupted is finished by making it again.

    Args:
        root: the bundle's folder.
        groups: documents by group.
        statements: envelopes; the same payload again adds its signatures to those that are there.
        files: bytes by path, under measurements/ or attachments/.

    Raises:
        BundleError, MalformedError: the bundle does not hold, or something does not belong there.

    """
    before = read_manifest(root)
    new: dict[str, bytes] = dict(files or {})
    for path in new:
        if not path.startswith(("measurements/", "attachments/")):
            raise BundleError("bad_path", f"{path} is neither a measurement nor attached")
    new |= {f"{name}.json": _group(name, group) for name, group in (groups or {}).items()}
    for envelope in statements:
        path = statement_path(envelope.digest)
        new[path] = _joined(root, before, path, envelope).to_json()
        read_statement(path, new[path], before)
    _check_before(root, before, new)
    if all(before.by_path.get(path) == listed(path, data) for path, data in new.items()):
        return open_bundle(root)
    history = f"history/{before.digest.removeprefix('sha256:')}.json"
    new[history] = before.payload
    entries = before.by_path | {path: listed(path, data) for path, data in new.items()}
    manifest = _checked(
        Manifest(
            FORMAT,
            before.model,
            before.candidate,
            before.digest,
            tuple(entries[path] for path in sorted(entries)),
        )
    )
    for path, data in new.items():
        write(root / path, data)
    write(root / NAME, manifest.payload)
    return open_bundle(root)


def _check_before(root: Path, before: Manifest, new: Mapping[str, bytes]) -> None:
    """What is there is what is listed, or what an interrupted addition has written already."""
    begun: set[str] = set()
    for path in unlisted(root, before):
        if path.startswith("history/") or (path in new and (root / path).read_bytes() == new[path]):
            begun.add(path)
        else:
            raise BundleError("unlisted_file", f"{path} is there and not listed")
    if stray := [p for p in begun if p not in new and not p.endswith(before.digest[7:] + ".json")]:
        raise BundleError("unlisted_file", f"{stray[0]} is there and not listed")
    for entry in before.files:
        try:
            read_listed(root, entry)
        except GovernanceError:
            if entry.path not in new or (root / entry.path).read_bytes() != new[entry.path]:
                raise


def _joined(root: Path, before: Manifest, path: str, envelope: Envelope) -> Envelope:
    """With the signatures of the same payload that is kept already."""
    if path not in before.by_path:
        return envelope
    kept = Envelope.from_json(read_listed(root, before.by_path[path]))
    new = tuple(s for s in envelope.signatures if s not in kept.signatures)
    return Envelope(kept.payload_type, kept.payload, (*kept.signatures, *new))


def _group(name: str, group: Group) -> bytes:
    if not isinstance(group, GROUPS.get(name, ())):
        raise BundleError("unknown_group", f"{name} is no such group", expected=", ".join(GROUPS))
    data = canonical.encode(shape.write(group))
    # Nothing is written that could not be read.
    read_group(f"{name}.json", data)
    return data


def _checked(manifest: Manifest) -> Manifest:
    found = shape.read(Manifest, canonical.decode(manifest.payload), NAME)
    if found != manifest:
        raise MalformedError("bad_value", f"{NAME} does not say what was meant")
    return found
