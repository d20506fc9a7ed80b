"""The demo's people: their keys, their certificates, and the policy that says who may what."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.certificates import SPIFFE, Authority
from bench.story_desk import PASSPHRASE, Desk, StoryError
from governance.service.client import Credentials
from governance.signer import FileSigner

AUDIENCE: Final = "demo-fleet"
GATEWAY: Final = "gateway-1"
# Role by person; mallory has a key that no policy knows.
ROLES: Final = {
    "olga": "operator",
    "dora": "domain_expert",
    "greta": "governance_approver",
    "sam": "security",
    "tom": "trainer",
    "rita": "root",
    "rolf": "root",
    "mallory": "",
}
# A comparison of seconds in place of a day. Two cores that serve, compare and make the load at once
# have tails that tell nothing of the candidate, so the latency gate is as wide as it goes.
SHADOW: Final = """\
# DEMO POLICY: shorter and laxer than anything that decides for people.
block_ms = 5
min_hours = 0
caller_share = "1"
caller_pairs_per_hour = 1000000
error_limit = "0.005"
shed_limit = "0.2"
latency_ratio = "10"
window_pairs = 100
"""


@dataclass
class People:
    """Keys in `desk.folder`, certificates in its folder `admin`, the signed policy once made.

    `limits`: of comparisons, as lines of the policy's file.
    """

    desk: Desk
    limits: str = SHADOW
    authority: Authority = field(init=False)
    certificates: dict[str, Credentials] = field(default_factory=dict)
    pin: str = ""

    def __post_init__(self) -> None:
        self.authority = Authority(self.desk.folder / "admin")
        self.authority.server()

    def __getitem__(self, name: str) -> Credentials:
        """A person's certificate."""
        return self.certificates[name]

    def key(self, name: str) -> Path:
        """The file of a person's private key."""
        return self.desk.folder / f"{name}.pem"

    def signer(self, name: str) -> FileSigner:
        """A person's key, open."""
        return FileSigner.open(self.key(name), PASSPHRASE.encode())

    def arrive(self) -> None:
        """Everybody makes a key and gets a certificate."""
        for number, name in enumerate(ROLES):
            self.desk.run(name, "keys", "new", "--out", self.key(name), show=number == 0)
            self.certificates[name] = self.authority.person(name)
        others = ", ".join(list(ROLES)[1:])
        self.desk.tell(f"so do {others}: Ed25519 in encrypted PEM, each their own")

    def agree(self, home: Path) -> None:
        """Make the gateway's folder and the policy, have the roots sign it, pin it."""
        desk, folder = self.desk, self.desk.folder
        made: tuple[object, ...] = ("governance", "init", "--home", home, "--audience", AUDIENCE)
        made += ("--gateway", GATEWAY, "--witness", folder / "witness" / "heads.jsonl")
        (folder / "witness").mkdir()
        desk.run("ops", *made)
        text, signed = folder / "policy.toml", folder / "policy.json"
        entries: list[object] = []
        for name, role in ROLES.items():
            entries += ["--key", f"{name}={role}={self.key(name)}.pub"] if role else []
        entries += ["--key", f"{GATEWAY}=gateway={home}/keys/gateway.pem.pub"]
        entries += ["--key", f"{GATEWAY}-ledger=ledger={home}/keys/ledger.pem.pub"]
        words = ("policy", "init", "--audience", AUDIENCE, "--out", text)
        desk.typed("rita", "sluicegate", *words, *entries[:2], "…")
        desk.run("rita", *words, *entries, show=False)
        text.write_text(edited(text.read_text(), self.limits))
        desk.console.print(f"[yellow]{self.limits.strip()}[/]", highlight=False)
        desk.run("rita", "policy", "sign", text, "--key", self.key("rita"), "--out", signed)
        told = desk.run("rolf", "policy", "sign", signed, "--key", self.key("rolf"))
        self.pin = told["digest"]
        desk.run("ops", "governance", "policy", "--home", home, signed, "--pin", self.pin)
        desk.tell(f"the gateway follows policy 1, signed by {' and '.join(told['roots_signed'])}")


def edited(starting_point: str, limits: str = SHADOW) -> str:
    """The policy as `policy init` writes it, with two roots, the demo's limits and its clients.

    Raises:
        StoryError: it is not as expected.

    """
    text = starting_point
    for line, new in (
        ("root_persons = 1\n", "root_persons = 2\n"),
        # The demo has no serving measurements and no reason codes to show.
        ('evidence = ["shadow", "promote", "validate"]\n', "evidence = []\n"),
        ("[risk_classes.standard.shadow]\n", f"[risk_classes.standard.shadow]\n{limits}"),
    ):
        if text.count(line) != 1:
            raise StoryError(f"`policy init` writes no line {line.strip()!r}")
        text = text.replace(line, new)
    admins = [
        f'\n[[admins]]\nspiffe_id = "{SPIFFE}{name}"\nroles = ["{role}"]\n'
        for name, role in ROLES.items()
        if role
    ]
    return text + "".join(admins)
