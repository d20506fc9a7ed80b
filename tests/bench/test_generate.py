"""The generated wire types: in step with proto/, and usable from their package."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from gateway.wire import open_inference_pb2
from gateway.wire.generate import HERE, drift, generate, qualify


def test_the_committed_types_are_what_proto_gives() -> None:
    assert drift(HERE) == []


def test_an_edited_a_missing_and_a_left_over_file_are_drift(tmp_path: Path) -> None:
    generate(tmp_path)
    assert drift(tmp_path) == []
    edited = tmp_path / "model_config_pb2.py"
    edited.write_text(edited.read_text() + "\n")
    (tmp_path / "open_inference_pb2.pyi").unlink()
    (tmp_path / "gone_pb2.py").write_text("")
    assert drift(tmp_path) == ["gone_pb2.py", "model_config_pb2.py", "open_inference_pb2.pyi"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("import a_pb2 as a__pb2", "from gateway.wire import a_pb2 as a__pb2"),
        ("import grpc", "import grpc"),
        ("from google.protobuf import any_pb2 as x", "from google.protobuf import any_pb2 as x"),
    ],
)
def test_only_imports_of_sibling_modules_are_qualified(line: str, expected: str) -> None:
    assert qualify(line) == expected


def test_a_message_can_be_sent_to_another_process() -> None:
    message = open_inference_pb2.ModelInferRequest(model_name="m")
    assert pickle.loads(pickle.dumps(message)) == message  # noqa: S301 - our own bytes
