"""Statements, and the schemas that are published of them."""

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from governance import canonical
from governance import policy as policies
from governance.errors import GovernanceError, MalformedError
from governance.predicates import Approval, Predicate
from governance.schemas.__main__ import FOLDER, published
from governance.statements import KINDS, STATEMENT_TYPE, Statement, parse, parse_any
from tests.governance import samples
from tests.governance.json_schema import accepts
from tests.governance.samples import POLICY
from tests.governance.signing import CANDIDATE, INCUMBENT, MODEL, approval, gate, report

NAMES = sorted(KINDS)


def documents() -> dict[str, Any]:
    found = {name: canonical.decode(s.payload) for name, s in samples.statements().items()}
    return found | {"policy": canonical.decode(POLICY.payload)}


def parses(name: str, document: Any) -> str | None:
    """The reason of the refusal, or None."""
    payload = canonical.encode(document)
    try:
        if name == "policy":
            policies.parse(payload)
        else:
            parse(payload, KINDS[name])
    except GovernanceError as error:
        return error.reason
    return None


@pytest.mark.parametrize("name", NAMES)
def test_a_statement_is_read_as_it_was_written(name: str) -> None:
    statement = samples.statements()[name]
    found = parse_any(statement.payload)
    assert found == statement
    assert found.payload == statement.payload


@pytest.mark.parametrize("name", NAMES)
def test_optional_fields_of_others_formats_may_be_absent_and_are_not_null(name: str) -> None:
    document = documents()[name]
    predicate = document["predicate"]
    required = published()[f"{name}.json"]
    for field in list(predicate):
        if field not in json.loads(required)["properties"]["predicate"]["required"]:
            changed = copy.deepcopy(document)
            del changed["predicate"][field]
            assert parses(name, changed) is None
            changed["predicate"][field] = None
            assert parses(name, changed) == "wrong_type"


def test_schemas_are_published_as_the_types_are() -> None:
    written = {path.name: path.read_text() for path in FOLDER.glob("*.json")}
    assert written == published(), "run python -m governance.schemas"


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    steps: Any = ()
    if isinstance(value, dict):
        steps = value.items()
    elif isinstance(value, list):
        steps = enumerate(value)
    for step, inner in steps:
        yield from places(inner, (*path, step))


def changed(document: Any, path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> Any:
    made = copy.deepcopy(document)
    holder = made
    for step in path[:-1]:
        holder = holder[step]
    change(holder, path[-1])
    return made


def mutations(document: Any) -> Iterator[tuple[str, Any]]:
    """Every field removed, given each wrong type and odd values; an unknown one added to each."""
    for path in places(document):
        if not path:
            continue
        if isinstance(path[-1], str):
            yield f"without {path}", changed(document, path, lambda h, k: h.pop(k))
        for value in (None, True, -1, 0, "", "x", "x\n", "é", "a" * 5000, [], {}, ["x"], {"x": 1}):

            def put(holder: Any, key: Any, value: Any = value) -> None:
                holder[key] = value

            yield f"{path} = {value!r}", changed(document, path, put)
        if isinstance(path[-1], str):

            def add(holder: Any, _: Any) -> None:
                holder["unknown"] = 1

            yield f"unknown beside {path}", changed(document, path, add)


# What a parser finds between fields, where a schema sees each alone.
BETWEEN_FIELDS = {
    "bad_counts",
    "bad_validity",
    "bad_previous",
    "contradiction",
    "duplicate_key",
    "empty_roles",
    "low_threshold",
    "missing_rule",
    "no_comment",
    "no_evidence",
    "no_justification",
    "no_shadow_report",
    "role_may_not_approve",
    "subject_mismatch",
    "unknown_action",
    "unknown_risk_class",
    "unreachable_threshold",
    "unsound_key",
}


@pytest.mark.parametrize("name", [*NAMES, "policy"])
def test_schema_and_parser_agree_on_every_mutation(name: str) -> None:
    schema = json.loads((FOLDER / f"{name}.json").read_text())
    document = documents()[name]
    assert accepts(schema, document)
    assert parses(name, document) is None
    seen = 0
    for what, mutated in mutations(document):
        reason = parses(name, mutated)
        if reason in BETWEEN_FIELDS:
            reason = None
        assert accepts(schema, mutated) == (reason is None), (what, reason)
        seen += reason is not None
    assert seen > 100


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"_type": "https://in-toto.io/Statement/v0.1"}, "wrong_statement_type"),
        ({"predicateType": "urn:sluicegate:approval:v2"}, "wrong_predicate_type"),
        ({"subject": []}, "wrong_subject"),
        ({"extra": 1}, "unknown_field"),
    ],
)
def test_another_frame_is_refused(name: str, change: dict[str, Any], expected: str) -> None:
    assert parses(name, documents()[name] | change) == expected


@pytest.mark.parametrize("name", NAMES)
def test_two_subjects_are_refused(name: str) -> None:
    document = documents()[name]
    assert parses(name, document | {"subject": document["subject"] * 2}) == "wrong_subject"


@pytest.mark.parametrize("name", NAMES)
def test_a_statement_is_never_read_as_another_kind(name: str) -> None:
    payload = samples.statements()[name].payload
    for other in NAMES:
        if other != name:
            with pytest.raises(MalformedError) as refused:
                parse(payload, KINDS[other])
            assert refused.value.reason == "wrong_predicate_type"


def test_a_statement_cannot_be_about_another_subject_than_it_says() -> None:
    with pytest.raises(MalformedError) as refused:
        Statement(MODEL, INCUMBENT, approval(POLICY))
    assert refused.value.reason == "subject_mismatch"


def test_what_could_not_be_read_is_not_signed() -> None:
    for predicate in (approval(POLICY, nonce="short"), approval(POLICY, audience="a\nb")):
        statement: Statement[Predicate] = Statement(MODEL, CANDIDATE, predicate)
        with pytest.raises(MalformedError):
            _ = statement.payload


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: approval(POLICY, expires=0), "bad_validity"),
        (lambda: approval(POLICY, shadow_report=None), "no_shadow_report"),
        (lambda: approval(POLICY, evidence=None), "no_evidence"),
        (lambda: approval(POLICY, decision="refuse", comment=" "), "no_comment"),
        (lambda: replace(samples.break_glass(), justification=" \n"), "no_justification"),
        (lambda: replace(samples.revocation(), since=2_000_000_000), "bad_validity"),
        (lambda: gate(d=2001), "bad_counts"),
        (lambda: report(POLICY, d=2001), "bad_counts"),
        (lambda: report(POLICY, ended=0), "bad_validity"),
        (lambda: report(POLICY, gates=(gate(), gate())), "duplicate_name"),
        (lambda: report(POLICY, gates=(gate(state="FAIL"),)), "contradiction"),
    ],
)
def test_what_contradicts_itself_cannot_be_said(make: Callable[[], object], expected: str) -> None:
    with pytest.raises(MalformedError) as refused:
        make()
    assert refused.value.reason == expected


def test_the_frame_is_in_toto_s() -> None:
    document = documents()["approval"]
    assert document["_type"] == STATEMENT_TYPE == "https://in-toto.io/Statement/v1"
    assert document["predicateType"] == Approval.TYPE == "urn:sluicegate:approval:v1"
    assert document["subject"] == [{"name": MODEL, "digest": {"sha256": CANDIDATE[7:]}}]
    assert {"notBefore", "shadowReport", "policyVersion"} <= document["predicate"].keys()
