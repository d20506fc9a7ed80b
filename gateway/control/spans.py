"""From the serving process's traced requests to OpenTelemetry spans.

A request is a server span; below it stand `queue` (arrival to the start of its batch) and
`execute` (the batch's run). A batch is a span of its own, linked to the requests in it, and each
`execute` is linked to its batch: a batch serves many traces and belongs to none.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

Attributes = dict[str, str | int]

SCOPE = InstrumentationScope("sluicegate")
METHOD = "inference.GRPCInferenceService/ModelInfer"
SAMPLED = TraceFlags(TraceFlags.SAMPLED)
# Outcomes that are the server's own doing; a caller's mistake is no error of a server span.
ERRORS = frozenset(
    {
        "late",
        "shed_queue_full",
        "shed_deadline",
        "shed_priority",
        "shed_share",
        "shed_overload",
        "expired_in_queue",
        "unavailable",
        "failed",
    }
)


def spans_of(requests: Sequence[dict[str, Any]], resource: Resource) -> list[ReadableSpan]:
    """Every span of these requests and of the batches that they were in."""
    made: list[ReadableSpan] = []
    batches: dict[int, list[dict[str, Any]]] = {}
    for request in requests:
        made += _of_request(request, resource)
        if "batch" in request:
            batches.setdefault(request["batch"], []).append(request)
    made += [_batch(number, members, resource) for number, members in batches.items()]
    return made


def _context(trace: int, span: int, *, remote: bool = False) -> SpanContext:
    return SpanContext(trace, span, is_remote=remote, trace_flags=SAMPLED)


def _derived(*parts: object) -> int:
    """A span id that is the same whenever it is asked for."""
    digest = blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest) or 1


def _of_request(request: dict[str, Any], resource: Resource) -> Iterable[ReadableSpan]:
    own = _context(int(request["trace"], 16), int(request["span"], 16))
    caller = int(request["parent"], 16)
    outcome = str(request["outcome"])
    attributes: Attributes = {
        "rpc.system": "grpc",
        "rpc.service": "inference.GRPCInferenceService",
        "rpc.method": "ModelInfer",
        "sluicegate.model": request["model"],
        "sluicegate.version": request["version"],
        "sluicegate.rows": request["rows"],
        "sluicegate.outcome": outcome,
    }
    yield ReadableSpan(
        METHOD,
        own,
        parent=_context(own.trace_id, caller, remote=True) if caller else None,
        resource=resource,
        attributes=attributes,
        kind=SpanKind.SERVER,
        status=Status(StatusCode.ERROR, outcome) if outcome in ERRORS else Status(),
        start_time=request["arrived"],
        end_time=max(request["written"], request["arrived"]),
        instrumentation_scope=SCOPE,
    )
    if "batch" not in request:
        return
    started, finished = request["started"], request["finished"]
    steps = (
        ("queue", request["arrived"], started, ()),
        ("execute", started, finished, (Link(_batch_context(request["batch"], started)),)),
    )
    for name, start, end, links in steps:
        yield ReadableSpan(
            name,
            _context(own.trace_id, _derived(request["span"], name)),
            parent=own,
            resource=resource,
            links=links,
            start_time=start,
            end_time=max(end, start),
            instrumentation_scope=SCOPE,
        )


def _batch_context(number: int, started: int) -> SpanContext:
    trace = _derived("trace", number, started) << 64 | _derived("batch", number, started)
    return _context(trace, _derived("span", number, started))


def _batch(number: int, members: list[dict[str, Any]], resource: Resource) -> ReadableSpan:
    first = members[0]
    links = [Link(_context(int(m["trace"], 16), int(m["span"], 16))) for m in members]
    attributes: Attributes = {
        "sluicegate.model": first["model"],
        "sluicegate.version": first["version"],
        "sluicegate.batch_rows": first["batch_rows"],
    }
    return ReadableSpan(
        "batch",
        _batch_context(number, first["started"]),
        resource=resource,
        attributes=attributes,
        links=links,
        start_time=first["started"],
        end_time=max(first["finished"], first["started"]),
        instrumentation_scope=SCOPE,
    )
