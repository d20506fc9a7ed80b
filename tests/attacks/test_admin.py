"""Attacks on the admin door: lying certificates, roles that are not there, hidden fields."""

import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from cryptography import x509

from governance.service.client import CallError, Client, Credentials, UnreachableError
from governance.service.door import DeniedError, identity
from governance.service.repository import digest_of
from governance.wire import admin_pb2, governance_pb2
from tests.governance.service.certificates import Authority, spiffe
from tests.governance.service.double import complete
from tests.governance.service.served import Served, serving

OPERATOR = x509.UniformResourceIdentifier(spiffe("operator"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("admin")) as running:
        yield running


def status(served: Served, credentials: Credentials) -> str:
    """Reason of the refusal of a call with these credentials."""
    with Client(f"127.0.0.1:{served.server.port}", credentials) as client:
        with pytest.raises((CallError, UnreachableError)) as refused:
            client.call(admin_pb2.StatusRequest(), "Status")
        return refused.value.reason


def test_the_door_opens_for_the_operator(served: Served) -> None:
    with served.client("operator") as client:
        assert client.call(admin_pb2.StatusRequest(), "Status").gateway == "gateway-1"


def test_no_certificate(served: Served) -> None:
    credentials = grpc.ssl_channel_credentials((served.authority.folder / "ca.pem").read_bytes())
    with grpc.secure_channel(f"127.0.0.1:{served.server.port}", credentials) as channel:
        ask = channel.unary_unary("/sluicegate.admin.v1.Admin/Status")
        with pytest.raises(grpc.RpcError) as refused:
            ask(b"", timeout=5)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


def test_no_tls(served: Served) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{served.server.port}") as channel:
        ask = channel.unary_unary("/sluicegate.admin.v1.Admin/Status")
        with pytest.raises(grpc.RpcError) as refused:
            ask(b"", timeout=5)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


def test_a_certificate_of_a_foreign_authority(served: Served, tmp_path: Path) -> None:
    foreign = Authority(tmp_path).person("operator")
    ours = served.authority.folder / "ca.pem"
    credentials = Credentials(foreign.certificate, foreign.key, ours)
    assert status(served, credentials) == "unreachable"


def test_an_expired_certificate(served: Served) -> None:
    expired = served.authority.issue("expired", OPERATOR, expired=True)
    assert status(served, expired) == "unreachable"


def test_a_certificate_for_servers(served: Served) -> None:
    assert status(served, served.authority.issue("not-client", OPERATOR, server=True)) == (
        "unreachable"
    )


Issue = Callable[[Authority], Credentials]


@pytest.mark.parametrize(
    ("issue", "reason"),
    [
        (
            lambda a: a.issue("two", OPERATOR, x509.UniformResourceIdentifier(spiffe("auditor"))),
            "several_identities",
        ),
        (lambda a: a.issue("twice", OPERATOR, OPERATOR), "several_identities"),
        (lambda a: a.issue("cn", common=spiffe("operator")), "no_identity"),
        (lambda a: a.issue("dns", x509.DNSName("operator"), common="operator"), "no_identity"),
        (
            lambda a: a.issue(
                "domain", x509.UniformResourceIdentifier("spiffe://elsewhere/people/operator")
            ),
            "role_denied",
        ),
        (
            lambda a: a.issue(
                "upper", x509.UniformResourceIdentifier("spiffe://BANK/people/operator")
            ),
            "role_denied",
        ),
        (
            lambda a: a.issue("slash", x509.UniformResourceIdentifier(spiffe("operator") + "/")),
            "role_denied",
        ),
        (lambda a: a.person("nobody"), "role_denied"),
    ],
    ids=[
        "two URI names",
        "one URI name twice",
        "common name spoof",
        "DNS name spoof",
        "other trust domain",
        "upper-case trust domain",
        "slash at the end",
        "role not in table",
    ],
)
def test_an_identity_that_is_not_one(served: Served, issue: Issue, reason: str) -> None:
    assert status(served, issue(served.authority)) == reason


def test_metadata_names_nobody(served: Served) -> None:
    credentials = served.authority.person("mallory").channel()
    with grpc.secure_channel(f"127.0.0.1:{served.server.port}", credentials) as channel:
        ask = channel.unary_unary("/sluicegate.admin.v1.Admin/Status")
        metadata = [("x-spiffe-id", spiffe("operator")), ("authorization", "operator")]
        with pytest.raises(grpc.RpcError) as refused:
            ask(b"", timeout=5, metadata=metadata)
    assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED


def test_an_operators_certificate_alone_promotes_nothing(served: Served) -> None:
    stage = served.stage
    candidate = digest_of(stage.models / stage.model / "3")
    stage.submit(3, candidate)
    with served.client("operator") as client, pytest.raises(CallError) as refused:
        client.call(admin_pb2.PromoteRequest(model=stage.model, candidate=candidate), "Promote")
    assert refused.value.reason == "no_statements"


def test_a_field_that_this_version_does_not_know(served: Served) -> None:
    credentials = served.authority.person("operator").channel()
    with grpc.secure_channel(f"127.0.0.1:{served.server.port}", credentials) as channel:
        ask = channel.unary_unary("/sluicegate.governance.v1.Governance/SubmitEvidence")
        hidden = governance_pb2.EvidenceFile(path="a").SerializeToString() + b"\xf8\x07\x01"
        for message in (b"\xf8\x07\x01", b"\x22" + bytes([len(hidden)]) + hidden):
            with pytest.raises(grpc.RpcError) as refused:
                ask(message, timeout=5)
            assert dict(refused.value.trailing_metadata())["sluicegate-reason"] == "unknown_field"


def test_there_is_no_reflection(served: Served) -> None:
    credentials = served.authority.person("operator").channel()
    with grpc.secure_channel(f"127.0.0.1:{served.server.port}", credentials) as channel:
        for version in ("v1", "v1alpha"):
            name = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
            with pytest.raises(grpc.RpcError) as refused:
                list(channel.stream_stream(name)(iter([b""]), timeout=5))
            assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../b", "", "a\\..\\b", "."])
def test_a_file_that_leads_out_of_its_bundle(served: Served, path: str) -> None:
    stage = served.stage
    candidate = digest_of(stage.models / stage.model / "2")
    stage.submit(2, candidate)
    request = governance_pb2.SubmitEvidenceRequest(
        model=stage.model,
        candidate=candidate,
        bundle="sha256:" + "0" * 64,
        files=[governance_pb2.EvidenceFile(path=path, data=b"x")],
    )
    with served.client("trainer") as client, pytest.raises(CallError) as refused:
        client.call(request, "SubmitEvidence")
    assert refused.value.reason == "bad_path"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_is_1_3_where_both_can_and_not_older_than_1_2(served: Served) -> None:
    person = served.authority.person("operator")

    def version(most: ssl.TLSVersion) -> str | None:
        context = ssl.create_default_context(cafile=str(person.authority))
        context.load_cert_chain(person.certificate, person.key)
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = most
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection(("127.0.0.1", served.server.port), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            return secure.version()

    assert version(ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
    assert version(ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    with pytest.raises((ssl.SSLError, OSError)):
        version(ssl.TLSVersion.TLSv1_1)


def test_without_a_certificate_there_is_no_identity() -> None:
    with pytest.raises(DeniedError) as denied:
        identity({})
    assert denied.value.reason == "no_certificate"


def test_replayed_and_out_of_date_approvals_each_for_its_own_reason(tmp_path: Path) -> None:
    with serving(tmp_path) as running, running.client("operator") as operator:
        stage = running.stage
        one, two, three = (digest_of(stage.models / stage.model / str(n)) for n in (1, 2, 3))
        stage.first(1, one)
        for version, candidate in ((2, two), (3, three)):
            stage.submit(version, candidate)

        def refusal(candidate: str, envelope: bytes) -> str:
            request = admin_pb2.PromoteRequest(
                model=stage.model, candidate=candidate, approvals=[envelope]
            )
            with pytest.raises(CallError) as refused:
                operator.call(request, "Promote")
            return refused.value.reason

        def compare(candidate: str) -> None:
            stage.shadowing.start(
                stage.model, candidate, [stage.approval("shadow", candidate, "olga")]
            )
            stage.double.tell(stage.model, [(n, complete()) for n in range(1000)])
            stage.clock += 60
            stage.shadowing.tick()

        compare(two)
        approval = stage.approval("promote", two, "dora", "greta")
        # The incumbent moved between signing and acting.
        glass = stage.glass(three, "sam", "olga")
        operator.call(
            admin_pb2.PromoteRequest(
                model=stage.model, candidate=three, approvals=[glass.to_json()]
            ),
            "Promote",
        )
        assert refusal(two, approval.to_json()) == "incumbent_moved"
        back = stage.approval("rollback", three, "olga")
        operator.call(
            admin_pb2.RollbackRequest(model=stage.model, approvals=[back.to_json()]), "Rollback"
        )
        # The comparison was void from then on; another one passes, the old approval does not.
        compare(two)
        assert refusal(two, approval.to_json()) == "wrong_shadow_report"
        stage.promote(two)
        back = stage.approval("rollback", two, "olga")
        stage.rollback.roll_back(stage.model, [back])
        assert refusal(three, glass.to_json()) == "replayed_nonce"
