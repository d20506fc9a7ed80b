# mypy: ignore-errors
# ruff: noqa
# fmt: off
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Outcome(_message.Message):
    __slots__ = ("request_id", "row", "time_ns", "label")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ROW_FIELD_NUMBER: _ClassVar[int]
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    row: int
    time_ns: int
    label: float
    def __init__(self, request_id: _Optional[str] = ..., row: _Optional[int] = ..., time_ns: _Optional[int] = ..., label: _Optional[float] = ...) -> None: ...

class ReportRequest(_message.Message):
    __slots__ = ("outcomes",)
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[Outcome]
    def __init__(self, outcomes: _Optional[_Iterable[_Union[Outcome, _Mapping]]] = ...) -> None: ...

class ReportResponse(_message.Message):
    __slots__ = ("accepted", "not_sampled")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    NOT_SAMPLED_FIELD_NUMBER: _ClassVar[int]
    accepted: int
    not_sampled: int
    def __init__(self, accepted: _Optional[int] = ..., not_sampled: _Optional[int] = ...) -> None: ...
