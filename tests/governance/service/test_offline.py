"""What a trainer judged offline is no candidate: no gateway could load it."""

import pytest

from gateway.engines.registry import OFFLINE
from gateway.packing import pack_files
from governance.service import repository
from governance.service.repository import RepositoryError
from tests.governance.service.stage import Stage

CONTRACT = f"""
format = "sluicegate.contract/1"
engine = "{OFFLINE}"

[[inputs]]
name = "dialogue"
datatype = "BYTES"
shape = [-1, 1]
max_bytes = 64

[[outputs]]
name = "section"
datatype = "BYTES"
shape = [-1, 1]
max_bytes = 64
"""


def test_an_adapter_is_refused_in_a_sentence_and_nothing_is_logged(
    stage: Stage, digests: list[str]
) -> None:
    files = {"contract.toml": CONTRACT.encode(), "adapter_model.safetensors": b"learnt"}
    made = pack_files(files, stage.model, stage.models)
    assert made.version == len(digests) + 1
    size = stage.authority.ledger.reader.size
    with pytest.raises(RepositoryError, match="no gateway serves one yet") as refused:
        stage.submit(made.version, made.digest)
    assert refused.value.reason == "judged_offline"
    assert stage.authority.ledger.reader.size == size
    assert made.digest not in stage.authority.state(stage.model).candidates


def test_both_sides_know_the_engine_by_one_name() -> None:
    assert repository.OFFLINE == OFFLINE
