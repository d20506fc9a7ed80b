"""The Governance service: statements come in and go out, the ledger is read and proved."""

import shutil
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

from governance.bundle.errors import BundleError
from governance.bundle.manifest import NAME, chain_of, read_manifest
from governance.dsse import Envelope
from governance.errors import GovernanceError, StatementError
from governance.home import write
from governance.ledger import export
from governance.ledger.read import reading
from governance.policy_chain import accept
from governance.service import approvals, candidates
from governance.service.authority import key_of
from governance.service.candidates import Submitted
from governance.service.parts import Parts
from governance.statements import KINDS, parse_any
from governance.wire import governance_pb2 as pb

MOST_FILES = 1000


class Intake:
    """Methods by their names in proto/governance.proto, in small letters."""

    def __init__(self, parts: Parts) -> None:
        self._parts, self._authority = parts, parts.authority

    def submit_candidate(self, asked: pb.SubmitCandidateRequest) -> pb.SubmitCandidateResponse:
        """Register a model directory with its statements."""
        authority = self._authority
        done = candidates.submit(
            authority,
            asked.model,
            asked.version,
            Envelope.from_json(asked.provenance),
            Envelope.from_json(asked.evaluation),
            None,
        )
        if done.state == "eval_accepted" and asked.bundle:
            done = self._evidence(asked.model, done.digest, asked.bundle, asked.files)
        return pb.SubmitCandidateResponse(candidate=done.digest, state=done.state)

    def submit_evidence(self, asked: pb.SubmitEvidenceRequest) -> pb.SubmitCandidateResponse:
        """Keep a candidate's evidence bundle."""
        done = self._evidence(asked.model, asked.candidate, asked.bundle, asked.files)
        return pb.SubmitCandidateResponse(candidate=done.digest, state=done.state)

    def _evidence(self, model: str, candidate: str, bundle: str, files: Any) -> Submitted:
        authority = self._authority
        with authority.lock:
            if files:
                known = authority.candidate(model, candidate)
                _keep_bundle(authority.home.bundle(model, candidate), files, bundle, known.bundle)
            return candidates.evidence(authority, model, candidate, bundle)

    def submit_approval(self, asked: pb.SubmitApprovalRequest) -> pb.SubmitApprovalResponse:
        """Keep an approval, a refusal or a break-glass statement."""
        envelope = Envelope.from_json(asked.envelope)
        return pb.SubmitApprovalResponse(digest=approvals.keep(self._authority, envelope))

    def submit_revocation(self, asked: pb.SubmitRevocationRequest) -> pb.SubmitRevocationResponse:
        """Let a revocation take effect."""
        envelope = Envelope.from_json(asked.envelope)
        affected = self._parts.revoking.revoke(envelope)
        return pb.SubmitRevocationResponse(
            digest=envelope.digest,
            affected=[pb.AffectedModel(**asdict(a)) for a in affected],
        )

    def submit_policy(self, asked: pb.SubmitPolicyRequest) -> pb.SubmitPolicyResponse:
        """Follow the next version of the policy."""
        authority = self._authority
        with authority.lock:
            envelope = Envelope.from_json(asked.envelope)
            found = accept(envelope, authority.home.policy(), None, authority.clock())
            authority.record(
                "policy",
                key_of("policy", found.digest),
                policy=found.digest,
                version=found.version,
            )
            authority.home.add_policy(envelope, found.version)
        return pb.SubmitPolicyResponse(digest=found.digest, version=found.version)

    def get_statement(self, asked: pb.GetStatementRequest) -> pb.GetStatementResponse:
        """One envelope by its payload's digest."""
        envelope = self._authority.home.statement(asked.digest)
        return pb.GetStatementResponse(envelope=envelope.to_json())

    def list_statements(self, asked: pb.ListStatementsRequest) -> pb.ListStatementsResponse:
        """What is kept, by kind and model."""
        if asked.kind and asked.kind not in KINDS:
            raise StatementError(
                "unknown_kind", f"no statement is a {asked.kind!r}", expected=", ".join(KINDS)
            )
        types = {kind.TYPE: name for name, kind in KINDS.items()}
        told = pb.ListStatementsResponse()
        for digest in self._authority.home.statements():
            try:
                found = parse_any(self._authority.home.statement(digest).payload)
            except GovernanceError:
                continue
            kind = types[found.predicate.TYPE]
            if asked.kind in ("", kind) and asked.model in ("", found.name):
                told.statements.add(
                    digest=digest, kind=kind, model=found.name, candidate=found.digest
                )
        return told

    def ledger_head(self, _: pb.LedgerHeadRequest) -> pb.LedgerHeadResponse:
        """The head that an approval names."""
        ledger = self._authority.ledger
        with reading(self._authority.home.ledger) as reader:
            head = reader.head
            size = int(head.split("\n")[1])
            root = "sha256:" + reader.root(size).hex()
        return pb.LedgerHeadResponse(size=size, root=root, checkpoint=head, key=str(ledger.key))

    def prove_entry(self, asked: pb.ProveEntryRequest) -> pb.ProveEntryResponse:
        """An entry with its proof."""
        with reading(self._authority.home.ledger) as reader:
            return pb.ProveEntryResponse(proof=export.prove(reader, asked.index))


def _keep_bundle(
    root: Path, files: Iterable[pb.EvidenceFile], bundle: str, exported: str | None
) -> None:
    """Put a bundle in its place, in that of the one before if it grew from what was exported.

    It is written aside and checked first: a bundle that is refused changes nothing.

    Raises:
        BundleError: it is not the bundle that is named, or has another past (`other_evidence`).
        StatementError: `bad_path`.

    """
    aside, before = (root.with_name(f".{root.name}.{name}") for name in ("new", "before"))
    if before.is_dir() and not root.is_dir():
        # It ended between the two renames.
        before.rename(root)
    shutil.rmtree(aside, ignore_errors=True)
    try:
        _keep_files(aside, files)
        if not (aside / NAME).is_file():
            raise BundleError("no_bundle", f"the files that were sent have no {NAME} among them")
        digests = [manifest.digest for manifest in chain_of(aside, read_manifest(aside))]
        if digests[0] != bundle:
            raise BundleError("other_evidence", f"the files are the bundle {digests[0]}")
        if exported is not None and exported not in digests:
            raise BundleError(
                "other_evidence",
                f"the bundle {bundle} did not grow from {exported}, which was handed in first",
                remedy="add to that one: `sluicegate bundle add`",
            )
        if root.is_dir():
            root.rename(before)
        aside.rename(root)
    except OSError:
        if before.is_dir() and not root.is_dir():
            before.rename(root)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    shutil.rmtree(before, ignore_errors=True)


def _keep_files(folder: Path, files: Iterable[pb.EvidenceFile]) -> None:
    """Write the files of a bundle.

    Raises:
        StatementError: `bad_path`: a path leads out of the folder, or there are too many.

    """
    listed = list(files)
    if len(listed) > MOST_FILES:
        raise StatementError("bad_path", f"a bundle has at most {MOST_FILES} files")
    for file in listed:
        parts = PurePosixPath(file.path).parts
        if not parts or "\\" in file.path or any(p in ("..", ".", "/") for p in parts):
            raise StatementError("bad_path", f"{file.path!r} is no path in a bundle")
    for file in listed:
        write(folder / file.path, file.data)
