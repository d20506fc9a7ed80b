"""Three real servers: one leads, two follow what people signed for, and all compare together."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.servers import Contender
from gateway.control.plane import ControlSocket
from gateway.packing import pack_contract
from governance.service.repository import digest_of
from governance.shadow.fleet import check
from governance.shadow.statement import verify
from governance.shadow_report import ShadowReport
from governance.statements import parse
from tests.calls import connect
from tests.conftest import Serve
from tests.governance.follow.fleet import OTHERS, Fleet, leading
from tests.governance.service.stage import SHADOW
from tests.governance.service.test_end_to_end import CONTRACT, MODEL, answers, traffic
from tests.governance.signing import GATEWAY

ALL = (GATEWAY, *OTHERS)
TOGETHER = SHADOW | {"n_min": 900, "n_max": 100_000}


@dataclass
class Servers:
    fleet: Fleet
    by: dict[str, Contender]
    digests: list[str]

    def answered(self) -> list[str]:
        return [answers(connect(server)) for server in self.by.values()]

    def turn(self) -> None:
        self.fleet.stage.clock = int(time.time())
        self.fleet.stage.shadowing.tick()
        self.fleet.once()

    def until(self, check: Any, seconds: float = 60) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.turn()
            if check():
                return True
            time.sleep(0.05)
        return False


@pytest.fixture
def servers(tmp_path: Path, serve: Serve, request: pytest.FixtureRequest) -> Iterator[Servers]:
    """Three that nothing is live on; a parameter changes the comparison's limits."""
    models = tmp_path / "models"
    for threshold in (0.5, 0.25, 0.125):
        pack_contract(CONTRACT % threshold, MODEL, models)
    digests = [digest_of(models / MODEL / str(version)) for version in (1, 2, 3)]

    def plane(name: str) -> ControlSocket:
        return ControlSocket(tmp_path / f"{name}.control")

    shadow = TOGETHER | getattr(request, "param", {})
    with leading(tmp_path, plane, models, shadow=shadow) as fleet:
        by = {}
        homes = {GATEWAY: fleet.stage.home.root, **{name: tmp_path / name for name in OTHERS}}
        for name in ALL:
            # Each loads only what its own folder says that people signed for.
            config = f'control_socket = "{tmp_path / name}.control"\n'
            by[name] = serve(models, config + f'[governance]\nhome = "{homes[name]}"\n')
        fleet.stage.first(1, digests[0])
        yield Servers(fleet, by, digests)


def test_a_fleet_follows_one_promotion_and_one_rollback(servers: Servers) -> None:
    stage, fleet = servers.fleet.stage, servers.fleet
    one, two, _ = servers.digests
    assert fleet.follows() == {GATEWAY: True, OTHERS[0]: False, OTHERS[1]: False}
    servers.turn()
    assert servers.answered() == [one] * 3
    assert fleet.follows() == dict.fromkeys(ALL, True)
    stage.submit(2, two)
    with ExitStack() as stack:
        for server in servers.by.values():
            stack.enter_context(traffic(server))
        stage.shadowing.start(MODEL, two, [stage.approval("shadow", two, "olga")])
        assert servers.until(lambda: not stage.shadowing.models)
        stage.promote(two)
        # The last one is away, for a while.
        late = fleet.ones.pop(OTHERS[1])
        servers.turn()
        assert servers.answered() == [two, two, one]
        assert fleet.follows() == {GATEWAY: True, OTHERS[0]: True, OTHERS[1]: False}
        fleet.ones[OTHERS[1]] = late
        servers.turn()
        assert servers.answered() == [two] * 3
        assert fleet.follows() == dict.fromkeys(ALL, True)
        stage.rollback.roll_back(MODEL, [stage.approval("rollback", two, "olga")])
        # What they said of this model before its promotion counts no more.
        assert fleet.follows() == {GATEWAY: True, OTHERS[0]: False, OTHERS[1]: False}
        servers.turn()
        assert servers.answered() == [one] * 3
        assert fleet.follows() == dict.fromkeys(ALL, True)
    assert [one.failures() for one in fleet.ones.values()] == [[], []]


def test_three_gateways_compare_and_the_sum_of_their_reports_decides(servers: Servers) -> None:
    stage = servers.fleet.stage
    two = stage.submit(2, servers.digests[1])
    servers.turn()
    with ExitStack() as stack:
        # The one that leads has no callers: alone it would show nothing.
        for name in OTHERS:
            stack.enter_context(traffic(servers.by[name]))
        stage.shadowing.start(MODEL, two, [stage.approval("shadow", two, "olga")])
        servers.turn()
        told = stage.shadowing.told(MODEL)
        assert [share["gateway"] for share in told["fleet"]] == list(OTHERS)
        assert servers.until(lambda: not stage.shadowing.models)
        # They learn that it is over, and end theirs.
        servers.turn()
    known = stage.authority.candidate(MODEL, two)
    said = parse(stage.home.statement(str(known.report)).payload, ShadowReport).predicate
    assert (said.verdict, len(said.sources)) == ("PASS", 3)
    parts = [
        parse(stage.home.statement(source).payload, ShadowReport).predicate
        for source in said.sources
    ]
    assert {part.gateway for part in parts} == set(ALL)
    each = {part.gateway: part.n for part in parts}
    assert said.n == sum(each.values()) >= 900
    assert (each[GATEWAY], min(each[name] for name in OTHERS) > 0) == (0, True)
    assert verify(said).outcome == "PASS"
    check(said, parts)
    assert all(one.follower.plane.shadows() == {} for one in servers.fleet.ones.values())
    # And with it two people promote.
    stage.promote(two)
    servers.turn()
    assert servers.answered() == [two] * 3


@pytest.mark.parametrize("servers", [{"n_min": 100_000}], indirect=True)
def test_a_follower_that_was_killed_goes_on_where_it_was(servers: Servers) -> None:
    stage, fleet = servers.fleet.stage, servers.fleet
    two = stage.submit(2, servers.digests[1])
    servers.turn()
    name = OTHERS[0]
    with traffic(servers.by[name]):
        stage.shadowing.start(MODEL, two, [stage.approval("shadow", two, "olga")])
        assert servers.until(lambda: any(s["n"] > 20 for s in stage.shadowing.told(MODEL)["fleet"]))
        before = stage.home.run(MODEL)["joined"]  # type: ignore[index]
        fleet.ones[name].comparing._runs.clear()
        fleet.ones[name].comparing._joined.clear()
        seen = {s["gateway"]: s["n"] for s in stage.shadowing.told(MODEL)["fleet"]}
        assert servers.until(
            lambda: any(s["n"] > seen[name] for s in stage.shadowing.told(MODEL)["fleet"])
        )
    assert stage.home.run(MODEL)["joined"] == before  # type: ignore[index]
    assert fleet.ones[name].failures() == []
