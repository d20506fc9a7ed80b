"""A leader with its service, and followers of it, over whatever data planes a test gives them."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from governance.follow.comparing import Comparing
from governance.follow.follower import Follower
from governance.follow.leader import Remote
from governance.home import Home, write
from governance.service.client import Client
from governance.service.parts import Parts
from governance.service.plane import DataPlane
from governance.service.service import Server
from governance.wire import admin_pb2
from tests.governance.service.certificates import Authority
from tests.governance.service.served import ADMINS
from tests.governance.service.stage import SHADOW, Stage, short_policy
from tests.governance.signing import GATEWAY, KEYS, key, signed_policy, signer

OTHERS = ("gateway-2", "gateway-3")


@dataclass
class One:
    """A follower with what it says."""

    follower: Follower
    comparing: Comparing
    events: list[dict[str, Any]]

    def once(self) -> None:
        told = self.follower.once()
        if told is not None:
            self.comparing.once(told)

    def failures(self) -> list[str]:
        return [e["error"] for e in self.events if e["event"] == "failed"]


@dataclass
class Fleet:
    """`stage` leads; `ones` follow, by their names in the policy."""

    stage: Stage
    server: Server
    authority: Authority
    ones: dict[str, One] = field(default_factory=dict)

    def client(self, role: str = "gateway") -> Client:
        return Client(f"127.0.0.1:{self.server.port}", self.authority.person(role))

    def status(self) -> Any:
        with self.client("auditor") as client:
            return client.call(admin_pb2.StatusRequest(), "Status")

    def follows(self) -> dict[str, bool]:
        return {member.gateway: member.follows for member in self.status().fleet}

    def once(self) -> None:
        for one in self.ones.values():
            one.once()


def follower_home(root: Path, stage: Stage) -> Home:
    """A folder that pins the same policy."""
    home = Home(root)
    write(root / "pin", stage.by.digest.encode())
    home.add_policy(signed_policy(stage.by, "rita", "rolf"), 1)
    return home


@contextmanager
def leading(
    folder: Path,
    planes: Callable[[str], DataPlane],
    models: Path,
    clock: Callable[[], int] | None = None,
    shadow: dict[str, Any] = SHADOW,
    own: Mapping[str, str] | None = None,
) -> Iterator[Fleet]:
    """A leader and two followers; `planes` gives a gateway's data plane by its name.

    `own` are public keys of gateways that made theirs themselves, and follow as processes.
    """
    made = own or {}
    others = (key(name, "gateway") for name in OTHERS)
    keys = [*KEYS, *(k | {"public": made.get(k["person"], k["public"])} for k in others)]
    start = clock() if clock else int(time.time())
    by = short_policy(start, shadow=shadow, admins=ADMINS, keys=keys)
    stage = Stage(folder, planes(GATEWAY), models, by, clock=start)
    parts = Parts(stage.authority, stage.shadowing, stage.promotion, stage.rollback, stage.revoking)
    authority = Authority(folder / "tls")
    server = Server(parts, "127.0.0.1:0", authority.server())
    fleet = Fleet(stage, server, authority)
    with ExitStack() as stack:
        stack.callback(stage.close)
        stack.callback(server.stop, 0.2)
        for name in set(OTHERS) - made.keys():
            events: list[dict[str, Any]] = []

            def say(event: str, events: list[dict[str, Any]] = events, **fields: Any) -> None:
                events.append({"event": event, **fields})

            follower = Follower(
                follower_home(folder / name, stage),
                planes(name),
                models,
                name,
                signer(name),
                Remote(stack.enter_context(fleet.client())),
                lambda: stage.clock,
                say,
            )
            fleet.ones[name] = One(follower, Comparing(follower), events)
        yield fleet
