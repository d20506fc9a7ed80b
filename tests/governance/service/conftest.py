"""A stage with three versions of one model, the first of them live by governance."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.governance.service.double import FileDataPlane, complete
from tests.governance.service.stage import Stage, pack, short_policy


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    models = tmp_path / "models"
    plane = FileDataPlane(tmp_path / "plane.json", models)
    made = Stage(tmp_path, plane, models, short_policy())
    for version in (1, 2, 3):
        pack(models, version)
    yield made
    made.close()


@pytest.fixture
def digests(stage: Stage) -> list[str]:
    """Digests of versions 1 to 3; the first is live, the others are candidates."""
    from governance.service.repository import digest_of  # noqa: PLC0415

    found = [digest_of(stage.models / stage.model / str(version)) for version in (1, 2, 3)]
    stage.first(1, found[0])
    for version, digest in enumerate(found[1:], 2):
        stage.submit(version, digest)
    return found


@pytest.fixture
def passed(stage: Stage, digests: list[str]) -> list[str]:
    """The second version has passed its comparison."""
    start(stage, digests[1])
    stage.double.tell(stage.model, [(n, complete()) for n in range(1000)])
    stage.clock += 60
    stage.shadowing.tick()
    assert stage.authority.candidate(stage.model, digests[1]).report is not None
    return digests


def start(stage: Stage, candidate: str) -> None:
    stage.shadowing.start(stage.model, candidate, [stage.approval("shadow", candidate, "olga")])
