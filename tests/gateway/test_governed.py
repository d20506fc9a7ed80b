"""A server under governance: it serves what people signed for, and nothing else, by any door."""

from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest

from bench.servers import ServerError
from gateway.control import source
from gateway.packing import Packed, pack_contract
from gateway.wire import open_inference_pb2 as pb
from tests.calls import Client, connect, model_status, request, status
from tests.conftest import Serve
from tests.governance.folder import Folder, folder
from tests.governance.signing import GATEWAY, digest_of

CONTRACT = """\
format = "sluicegate.contract/1"
engine = "identity"
inputs = [{ name = "features", datatype = "FP32", shape = [-1, 32] }]
outputs = [{ name = "score", datatype = "FP32", shape = [-1, 32] }]
[decision]
output = "score"
threshold = %g
labels = ["no", "yes"]
"""
X = np.ones((1, 32), np.float32)


class Governed:
    """A repository of three versions, of which the second was promoted over the first."""

    def __init__(self, root: Path) -> None:
        self.models, self.socket = root / "models", root / "control"
        self.packed: list[Packed] = [
            pack_contract(CONTRACT % threshold, "fraud", self.models) for threshold in (0, 1, 2)
        ]
        self.folder: Folder = folder(root / "governance")
        self.first, self.second, self.third = (p.digest for p in self.packed)

    def promote(self) -> None:
        self.folder.promote(self.first, digest_of("before"))
        self.folder.promote(self.second, self.first)

    def config(self) -> str:
        home = self.folder.home.root
        return f'control_socket = "{self.socket}"\n[governance]\nhome = "{home}"\n'

    def swap(self, version: int) -> None:
        source.command(self.socket, "swap", model="fraud", version=version)


@pytest.fixture
def governed(tmp_path: Path) -> Governed:
    return Governed(tmp_path)


def digest(client: Client) -> str:
    answer = client.stub.ModelInfer(request("fraud", X), timeout=5)
    return str(answer.parameters["sluicegate_digest"].string_param)


def test_what_was_promoted_answers_and_not_the_newest_folder(
    governed: Governed, serve: Serve
) -> None:
    governed.promote()
    server = serve(governed.models, governed.config())
    assert digest(connect(server)) == governed.second
    assert model_status(server, "fraud")["signed"] is True


def test_a_swap_to_what_nobody_signed_for_is_refused_and_to_what_was_before_is_not(
    governed: Governed, serve: Serve
) -> None:
    governed.promote()
    server = serve(governed.models, governed.config())
    client = connect(server)
    with pytest.raises(source.RefusedError, match="nobody signed that"):
        governed.swap(3)
    assert digest(client) == governed.second
    governed.swap(1)
    assert digest(client) == governed.first
    governed.swap(2)
    assert digest(client) == governed.second


def test_repository_calls_change_nothing_under_governance(governed: Governed, serve: Serve) -> None:
    governed.promote()
    client = connect(serve(governed.models, governed.config()))
    for call, asked in (
        (client.stub.RepositoryModelLoad, pb.RepositoryModelLoadRequest(model_name="fraud")),
        (client.stub.RepositoryModelUnload, pb.RepositoryModelUnloadRequest(model_name="fraud")),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            call(asked, timeout=5)
        assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED
        assert "governance" in refused.value.details()
    assert digest(client) == governed.second


def test_before_anything_was_promoted_the_server_runs_and_answers_for_nothing(
    governed: Governed, serve: Serve
) -> None:
    server = serve(governed.models, governed.config())
    client = connect(server)
    code, _ = client.refusal(request("fraud", X))
    assert code == grpc.StatusCode.UNAVAILABLE
    # The first promotion comes by a swap, as every other one.
    governed.folder.promote(governed.first, digest_of("before"))
    governed.swap(1)
    assert digest(client) == governed.first


def test_a_record_that_was_written_without_people_keeps_the_model_out(
    governed: Governed, serve: Serve
) -> None:
    governed.promote()
    home = governed.folder.home
    live = home.live("fraud")
    assert live is not None
    # With the gateway's own key, but on an approval of another model.
    old = governed.folder.promote(governed.second, governed.first)
    forged = governed.folder.keep(replace(old, candidate=governed.third), GATEWAY)
    home.set_live("fraud", replace(live, model_digest=governed.third, deployment=forged))
    server = serve(governed.models, governed.config())
    code, sentence = connect(server).refusal(request("fraud", X))
    assert code == grpc.StatusCode.UNAVAILABLE
    assert "other models" in sentence
    assert status(server)["ready"] is False


def test_a_candidate_is_not_shadowed_without_a_signature(governed: Governed, serve: Serve) -> None:
    governed.promote()
    serve(governed.models, governed.config())
    wishes = {"run": "r", "share": 1.0, "seed": "0" * 32, "block_ms": 5, "score_epsilon": 0.1}
    with pytest.raises(source.RefusedError, match="nobody signed that"):
        source.command(governed.socket, "shadow", model="fraud", version=3, wishes=wishes)


def test_governance_without_a_policy_and_with_unsigned_models_do_not_start(
    governed: Governed, serve: Serve
) -> None:
    (governed.folder.home.root / "pin").unlink()
    with pytest.raises(ServerError, match="pin"):
        serve(governed.models, governed.config())
