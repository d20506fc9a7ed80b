"""Who looks at a fleet waits for nobody."""

import threading
from pathlib import Path

from governance.service.repository import digest_of
from tests.governance.follow.fleet import OTHERS, leading
from tests.governance.service.double import FileDataPlane
from tests.governance.service.stage import pack


def test_status_and_followers_answer_while_a_promotion_goes_on(tmp_path: Path) -> None:
    models = tmp_path / "models"
    pack(models, 1)

    def plane(name: str) -> FileDataPlane:
        return FileDataPlane(tmp_path / f"{name}.json", models)

    with leading(tmp_path, plane, models) as fleet:
        stage = fleet.stage
        stage.first(1, digest_of(models / stage.model / "1"))
        held, done = threading.Event(), threading.Event()

        def act() -> None:
            # As a swap to a model that takes a minute to load.
            with stage.authority.lock:
                held.set()
                done.wait(60)

        thread = threading.Thread(target=act)
        thread.start()
        try:
            assert held.wait(10)
            assert fleet.follows()[OTHERS[0]] is False
            told = fleet.ones[OTHERS[0]].follower.leader.follow(1)
            assert told.models[0].change > 0
        finally:
            done.set()
            thread.join()
