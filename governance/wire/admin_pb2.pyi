# mypy: ignore-errors
# ruff: noqa
# fmt: off
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("gateway", "audience", "policy", "policy_version", "policy_expires", "draining", "ledger_error", "gateway_error", "models", "fleet")
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    POLICY_EXPIRES_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    LEDGER_ERROR_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_ERROR_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    FLEET_FIELD_NUMBER: _ClassVar[int]
    gateway: str
    audience: str
    policy: str
    policy_version: int
    policy_expires: int
    draining: bool
    ledger_error: str
    gateway_error: str
    models: _containers.RepeatedCompositeFieldContainer[LiveModel]
    fleet: _containers.RepeatedCompositeFieldContainer[Member]
    def __init__(self, gateway: _Optional[str] = ..., audience: _Optional[str] = ..., policy: _Optional[str] = ..., policy_version: _Optional[int] = ..., policy_expires: _Optional[int] = ..., draining: _Optional[bool] = ..., ledger_error: _Optional[str] = ..., gateway_error: _Optional[str] = ..., models: _Optional[_Iterable[_Union[LiveModel, _Mapping]]] = ..., fleet: _Optional[_Iterable[_Union[Member, _Mapping]]] = ...) -> None: ...

class Member(_message.Message):
    __slots__ = ("gateway", "model", "deployment", "at", "follows")
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    FOLLOWS_FIELD_NUMBER: _ClassVar[int]
    gateway: str
    model: str
    deployment: str
    at: int
    follows: bool
    def __init__(self, gateway: _Optional[str] = ..., model: _Optional[str] = ..., deployment: _Optional[str] = ..., at: _Optional[int] = ..., follows: _Optional[bool] = ...) -> None: ...

class LiveModel(_message.Message):
    __slots__ = ("model", "incumbent", "recorded", "served", "version", "deployment", "previous", "shadowing", "rollback_owed", "review_due", "canary")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    INCUMBENT_FIELD_NUMBER: _ClassVar[int]
    RECORDED_FIELD_NUMBER: _ClassVar[int]
    SERVED_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    SHADOWING_FIELD_NUMBER: _ClassVar[int]
    ROLLBACK_OWED_FIELD_NUMBER: _ClassVar[int]
    REVIEW_DUE_FIELD_NUMBER: _ClassVar[int]
    CANARY_FIELD_NUMBER: _ClassVar[int]
    model: str
    incumbent: str
    recorded: str
    served: str
    version: int
    deployment: str
    previous: str
    shadowing: bool
    rollback_owed: bool
    review_due: int
    canary: bool
    def __init__(self, model: _Optional[str] = ..., incumbent: _Optional[str] = ..., recorded: _Optional[str] = ..., served: _Optional[str] = ..., version: _Optional[int] = ..., deployment: _Optional[str] = ..., previous: _Optional[str] = ..., shadowing: _Optional[bool] = ..., rollback_owed: _Optional[bool] = ..., review_due: _Optional[int] = ..., canary: _Optional[bool] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("candidates",)
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    def __init__(self, candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("model", "digest", "state", "version", "bundle", "report", "attempt")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    model: str
    digest: str
    state: str
    version: int
    bundle: str
    report: str
    attempt: int
    def __init__(self, model: _Optional[str] = ..., digest: _Optional[str] = ..., state: _Optional[str] = ..., version: _Optional[int] = ..., bundle: _Optional[str] = ..., report: _Optional[str] = ..., attempt: _Optional[int] = ...) -> None: ...

class StartShadowRequest(_message.Message):
    __slots__ = ("model", "candidate", "approvals", "share_ppm")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    APPROVALS_FIELD_NUMBER: _ClassVar[int]
    SHARE_PPM_FIELD_NUMBER: _ClassVar[int]
    model: str
    candidate: str
    approvals: _containers.RepeatedScalarFieldContainer[bytes]
    share_ppm: int
    def __init__(self, model: _Optional[str] = ..., candidate: _Optional[str] = ..., approvals: _Optional[_Iterable[bytes]] = ..., share_ppm: _Optional[int] = ...) -> None: ...

class StopShadowRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class StopShadowResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ShadowStatusRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class ShadowStatusResponse(_message.Message):
    __slots__ = ("model", "candidate", "incumbent", "attempt", "started", "verdict", "reasons", "gates", "counts", "share_ppm", "ended", "report", "alpha", "canary", "log10_e_mcnemar", "fleet")
    class CountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    INCUMBENT_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    GATES_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    SHARE_PPM_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    CANARY_FIELD_NUMBER: _ClassVar[int]
    LOG10_E_MCNEMAR_FIELD_NUMBER: _ClassVar[int]
    FLEET_FIELD_NUMBER: _ClassVar[int]
    model: str
    candidate: str
    incumbent: str
    attempt: int
    started: int
    verdict: str
    reasons: _containers.RepeatedCompositeFieldContainer[Reason]
    gates: _containers.RepeatedCompositeFieldContainer[Gate]
    counts: _containers.ScalarMap[str, int]
    share_ppm: int
    ended: bool
    report: str
    alpha: str
    canary: bool
    log10_e_mcnemar: str
    fleet: _containers.RepeatedCompositeFieldContainer[Share]
    def __init__(self, model: _Optional[str] = ..., candidate: _Optional[str] = ..., incumbent: _Optional[str] = ..., attempt: _Optional[int] = ..., started: _Optional[int] = ..., verdict: _Optional[str] = ..., reasons: _Optional[_Iterable[_Union[Reason, _Mapping]]] = ..., gates: _Optional[_Iterable[_Union[Gate, _Mapping]]] = ..., counts: _Optional[_Mapping[str, int]] = ..., share_ppm: _Optional[int] = ..., ended: _Optional[bool] = ..., report: _Optional[str] = ..., alpha: _Optional[str] = ..., canary: _Optional[bool] = ..., log10_e_mcnemar: _Optional[str] = ..., fleet: _Optional[_Iterable[_Union[Share, _Mapping]]] = ...) -> None: ...

class Share(_message.Message):
    __slots__ = ("gateway", "n", "d", "ended")
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    D_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    gateway: str
    n: int
    d: int
    ended: int
    def __init__(self, gateway: _Optional[str] = ..., n: _Optional[int] = ..., d: _Optional[int] = ..., ended: _Optional[int] = ...) -> None: ...

class Reason(_message.Message):
    __slots__ = ("reason", "sentence")
    REASON_FIELD_NUMBER: _ClassVar[int]
    SENTENCE_FIELD_NUMBER: _ClassVar[int]
    reason: str
    sentence: str
    def __init__(self, reason: _Optional[str] = ..., sentence: _Optional[str] = ...) -> None: ...

class Gate(_message.Message):
    __slots__ = ("gate", "trials", "events", "limit", "low", "high", "pairs_needed")
    GATE_FIELD_NUMBER: _ClassVar[int]
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    PAIRS_NEEDED_FIELD_NUMBER: _ClassVar[int]
    gate: str
    trials: int
    events: int
    limit: str
    low: str
    high: str
    pairs_needed: int
    def __init__(self, gate: _Optional[str] = ..., trials: _Optional[int] = ..., events: _Optional[int] = ..., limit: _Optional[str] = ..., low: _Optional[str] = ..., high: _Optional[str] = ..., pairs_needed: _Optional[int] = ...) -> None: ...

class SetSamplingRequest(_message.Message):
    __slots__ = ("model", "share_ppm")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SHARE_PPM_FIELD_NUMBER: _ClassVar[int]
    model: str
    share_ppm: int
    def __init__(self, model: _Optional[str] = ..., share_ppm: _Optional[int] = ...) -> None: ...

class SetSamplingResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PromoteRequest(_message.Message):
    __slots__ = ("model", "candidate", "approvals", "canary_ppm")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    APPROVALS_FIELD_NUMBER: _ClassVar[int]
    CANARY_PPM_FIELD_NUMBER: _ClassVar[int]
    model: str
    candidate: str
    approvals: _containers.RepeatedScalarFieldContainer[bytes]
    canary_ppm: int
    def __init__(self, model: _Optional[str] = ..., candidate: _Optional[str] = ..., approvals: _Optional[_Iterable[bytes]] = ..., canary_ppm: _Optional[int] = ...) -> None: ...

class PromoteResponse(_message.Message):
    __slots__ = ("candidate", "version", "deployment", "repeated_call", "canary")
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    REPEATED_CALL_FIELD_NUMBER: _ClassVar[int]
    CANARY_FIELD_NUMBER: _ClassVar[int]
    candidate: str
    version: int
    deployment: str
    repeated_call: bool
    canary: bool
    def __init__(self, candidate: _Optional[str] = ..., version: _Optional[int] = ..., deployment: _Optional[str] = ..., repeated_call: _Optional[bool] = ..., canary: _Optional[bool] = ...) -> None: ...

class RollbackRequest(_message.Message):
    __slots__ = ("model", "approvals")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    APPROVALS_FIELD_NUMBER: _ClassVar[int]
    model: str
    approvals: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, model: _Optional[str] = ..., approvals: _Optional[_Iterable[bytes]] = ...) -> None: ...

class RollbackResponse(_message.Message):
    __slots__ = ("candidate", "version", "logged")
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LOGGED_FIELD_NUMBER: _ClassVar[int]
    candidate: str
    version: int
    logged: bool
    def __init__(self, candidate: _Optional[str] = ..., version: _Optional[int] = ..., logged: _Optional[bool] = ...) -> None: ...

class DecideRequest(_message.Message):
    __slots__ = ("action", "model", "candidate", "approvals")
    ACTION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    APPROVALS_FIELD_NUMBER: _ClassVar[int]
    action: str
    model: str
    candidate: str
    approvals: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, action: _Optional[str] = ..., model: _Optional[str] = ..., candidate: _Optional[str] = ..., approvals: _Optional[_Iterable[bytes]] = ...) -> None: ...

class DecideResponse(_message.Message):
    __slots__ = ("state", "index")
    STATE_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    state: str
    index: int
    def __init__(self, state: _Optional[str] = ..., index: _Optional[int] = ...) -> None: ...

class DrainRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DrainResponse(_message.Message):
    __slots__ = ("stopped_shadows",)
    STOPPED_SHADOWS_FIELD_NUMBER: _ClassVar[int]
    stopped_shadows: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, stopped_shadows: _Optional[_Iterable[str]] = ...) -> None: ...

class EventsRequest(_message.Message):
    __slots__ = ("start", "follow", "model")
    START_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    start: int
    follow: bool
    model: str
    def __init__(self, start: _Optional[int] = ..., follow: _Optional[bool] = ..., model: _Optional[str] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("index", "kind", "key", "body")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    index: int
    kind: str
    key: str
    body: bytes
    def __init__(self, index: _Optional[int] = ..., kind: _Optional[str] = ..., key: _Optional[str] = ..., body: _Optional[bytes] = ...) -> None: ...

class AcknowledgeDeploymentRequest(_message.Message):
    __slots__ = ("model", "candidate", "deployment", "gateway", "signature", "change")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    model: str
    candidate: str
    deployment: str
    gateway: str
    signature: bytes
    change: int
    def __init__(self, model: _Optional[str] = ..., candidate: _Optional[str] = ..., deployment: _Optional[str] = ..., gateway: _Optional[str] = ..., signature: _Optional[bytes] = ..., change: _Optional[int] = ...) -> None: ...

class AcknowledgeDeploymentResponse(_message.Message):
    __slots__ = ("gateways",)
    GATEWAYS_FIELD_NUMBER: _ClassVar[int]
    gateways: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, gateways: _Optional[_Iterable[str]] = ...) -> None: ...

class FollowRequest(_message.Message):
    __slots__ = ("policy_version",)
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    policy_version: int
    def __init__(self, policy_version: _Optional[int] = ...) -> None: ...

class FollowResponse(_message.Message):
    __slots__ = ("gateway", "policies", "models", "revocations")
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    REVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    gateway: str
    policies: _containers.RepeatedScalarFieldContainer[bytes]
    models: _containers.RepeatedCompositeFieldContainer[FollowModel]
    revocations: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, gateway: _Optional[str] = ..., policies: _Optional[_Iterable[bytes]] = ..., models: _Optional[_Iterable[_Union[FollowModel, _Mapping]]] = ..., revocations: _Optional[_Iterable[str]] = ...) -> None: ...

class FollowModel(_message.Message):
    __slots__ = ("model", "candidate", "deployment", "previous", "previous_deployment", "change", "compared", "attempt", "policy", "approvals")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    COMPARED_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    APPROVALS_FIELD_NUMBER: _ClassVar[int]
    model: str
    candidate: str
    deployment: str
    previous: str
    previous_deployment: str
    change: int
    compared: str
    attempt: int
    policy: str
    approvals: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model: _Optional[str] = ..., candidate: _Optional[str] = ..., deployment: _Optional[str] = ..., previous: _Optional[str] = ..., previous_deployment: _Optional[str] = ..., change: _Optional[int] = ..., compared: _Optional[str] = ..., attempt: _Optional[int] = ..., policy: _Optional[str] = ..., approvals: _Optional[_Iterable[str]] = ...) -> None: ...

class JoinShadowRequest(_message.Message):
    __slots__ = ("model", "candidate", "attempt", "commitment", "gateway", "signature")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    COMMITMENT_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    model: str
    candidate: str
    attempt: int
    commitment: str
    gateway: str
    signature: bytes
    def __init__(self, model: _Optional[str] = ..., candidate: _Optional[str] = ..., attempt: _Optional[int] = ..., commitment: _Optional[str] = ..., gateway: _Optional[str] = ..., signature: _Optional[bytes] = ...) -> None: ...

class JoinShadowResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SubmitReportRequest(_message.Message):
    __slots__ = ("envelope",)
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    envelope: bytes
    def __init__(self, envelope: _Optional[bytes] = ...) -> None: ...

class SubmitReportResponse(_message.Message):
    __slots__ = ("digest",)
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    digest: str
    def __init__(self, digest: _Optional[str] = ...) -> None: ...
