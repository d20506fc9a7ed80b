# mypy: ignore-errors
# ruff: noqa
# fmt: off
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SubmitCandidateRequest(_message.Message):
    __slots__ = ("model", "version", "provenance", "evaluation", "bundle", "files")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    provenance: bytes
    evaluation: bytes
    bundle: str
    files: _containers.RepeatedCompositeFieldContainer[EvidenceFile]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., provenance: _Optional[bytes] = ..., evaluation: _Optional[bytes] = ..., bundle: _Optional[str] = ..., files: _Optional[_Iterable[_Union[EvidenceFile, _Mapping]]] = ...) -> None: ...

class SubmitEvidenceRequest(_message.Message):
    __slots__ = ("model", "candidate", "bundle", "files")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    model: str
    candidate: str
    bundle: str
    files: _containers.RepeatedCompositeFieldContainer[EvidenceFile]
    def __init__(self, model: _Optional[str] = ..., candidate: _Optional[str] = ..., bundle: _Optional[str] = ..., files: _Optional[_Iterable[_Union[EvidenceFile, _Mapping]]] = ...) -> None: ...

class EvidenceFile(_message.Message):
    __slots__ = ("path", "data")
    PATH_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    path: str
    data: bytes
    def __init__(self, path: _Optional[str] = ..., data: _Optional[bytes] = ...) -> None: ...

class SubmitCandidateResponse(_message.Message):
    __slots__ = ("candidate", "state")
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    candidate: str
    state: str
    def __init__(self, candidate: _Optional[str] = ..., state: _Optional[str] = ...) -> None: ...

class SubmitApprovalRequest(_message.Message):
    __slots__ = ("envelope",)
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    envelope: bytes
    def __init__(self, envelope: _Optional[bytes] = ...) -> None: ...

class SubmitApprovalResponse(_message.Message):
    __slots__ = ("digest",)
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    digest: str
    def __init__(self, digest: _Optional[str] = ...) -> None: ...

class SubmitRevocationRequest(_message.Message):
    __slots__ = ("envelope",)
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    envelope: bytes
    def __init__(self, envelope: _Optional[bytes] = ...) -> None: ...

class SubmitRevocationResponse(_message.Message):
    __slots__ = ("digest", "affected")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    AFFECTED_FIELD_NUMBER: _ClassVar[int]
    digest: str
    affected: _containers.RepeatedCompositeFieldContainer[AffectedModel]
    def __init__(self, digest: _Optional[str] = ..., affected: _Optional[_Iterable[_Union[AffectedModel, _Mapping]]] = ...) -> None: ...

class AffectedModel(_message.Message):
    __slots__ = ("model", "candidate", "pulled_back", "unloaded")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    PULLED_BACK_FIELD_NUMBER: _ClassVar[int]
    UNLOADED_FIELD_NUMBER: _ClassVar[int]
    model: str
    candidate: str
    pulled_back: bool
    unloaded: bool
    def __init__(self, model: _Optional[str] = ..., candidate: _Optional[str] = ..., pulled_back: _Optional[bool] = ..., unloaded: _Optional[bool] = ...) -> None: ...

class SubmitPolicyRequest(_message.Message):
    __slots__ = ("envelope",)
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    envelope: bytes
    def __init__(self, envelope: _Optional[bytes] = ...) -> None: ...

class SubmitPolicyResponse(_message.Message):
    __slots__ = ("digest", "version")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    digest: str
    version: int
    def __init__(self, digest: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class GetStatementRequest(_message.Message):
    __slots__ = ("digest",)
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    digest: str
    def __init__(self, digest: _Optional[str] = ...) -> None: ...

class GetStatementResponse(_message.Message):
    __slots__ = ("envelope",)
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    envelope: bytes
    def __init__(self, envelope: _Optional[bytes] = ...) -> None: ...

class ListStatementsRequest(_message.Message):
    __slots__ = ("kind", "model")
    KIND_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    kind: str
    model: str
    def __init__(self, kind: _Optional[str] = ..., model: _Optional[str] = ...) -> None: ...

class ListStatementsResponse(_message.Message):
    __slots__ = ("statements",)
    STATEMENTS_FIELD_NUMBER: _ClassVar[int]
    statements: _containers.RepeatedCompositeFieldContainer[StatementLine]
    def __init__(self, statements: _Optional[_Iterable[_Union[StatementLine, _Mapping]]] = ...) -> None: ...

class StatementLine(_message.Message):
    __slots__ = ("digest", "kind", "model", "candidate")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    digest: str
    kind: str
    model: str
    candidate: str
    def __init__(self, digest: _Optional[str] = ..., kind: _Optional[str] = ..., model: _Optional[str] = ..., candidate: _Optional[str] = ...) -> None: ...

class LedgerHeadRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LedgerHeadResponse(_message.Message):
    __slots__ = ("size", "root", "checkpoint", "key")
    SIZE_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    size: int
    root: str
    checkpoint: str
    key: str
    def __init__(self, size: _Optional[int] = ..., root: _Optional[str] = ..., checkpoint: _Optional[str] = ..., key: _Optional[str] = ...) -> None: ...

class ProveEntryRequest(_message.Message):
    __slots__ = ("index",)
    INDEX_FIELD_NUMBER: _ClassVar[int]
    index: int
    def __init__(self, index: _Optional[int] = ...) -> None: ...

class ProveEntryResponse(_message.Message):
    __slots__ = ("proof",)
    PROOF_FIELD_NUMBER: _ClassVar[int]
    proof: str
    def __init__(self, proof: _Optional[str] = ...) -> None: ...
