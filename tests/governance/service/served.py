"""A running governance service with a double behind it, and clients of every role."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from governance.service.client import Client
from governance.service.parts import Parts
from governance.service.service import Server
from governance.service.telemetry import Seen, unseen
from governance.vocabulary import ROLES
from tests.governance.service.certificates import Authority, spiffe
from tests.governance.service.double import FileDataPlane
from tests.governance.service.stage import Stage, pack, short_policy

ADMINS = [{"spiffe_id": spiffe(role), "roles": [role]} for role in ROLES]


@dataclass
class Served:
    """`stage` has the parts that the server uses; `authority` issues certificates."""

    stage: Stage
    server: Server
    authority: Authority

    def client(self, role: str) -> Client:
        return Client(f"127.0.0.1:{self.server.port}", self.authority.person(role))


@contextmanager
def serving(folder: Path, seen: Seen = unseen) -> Iterator[Served]:
    """A service over the double with three versions packed; `seen` is told of calls."""
    models = folder / "models"
    plane = FileDataPlane(folder / "plane.json", models)
    stage = Stage(folder, plane, models, short_policy(admins=ADMINS))
    for version in (1, 2, 3):
        pack(models, version)
    parts = Parts(stage.authority, stage.shadowing, stage.promotion, stage.rollback, stage.revoking)
    authority = Authority(folder / "tls")
    server = Server(parts, "127.0.0.1:0", authority.server(), seen)
    try:
        yield Served(stage, server, authority)
    finally:
        server.stop(0.2)
        stage.close()
