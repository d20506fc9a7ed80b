"""The policy as people edit it: TOML with comments, and what it becomes when it is signed.

The file has the names of the signed document. Times may be written as dates with a time zone;
`format`, `previous`, `revoked_at`, `admins` and `witnesses` may be left out.
"""

import datetime
import tomllib
from collections.abc import Iterable
from typing import Any

from governance import canonical, policy
from governance.errors import MalformedError
from governance.policy import Policy
from governance.vocabulary import ROLES

DAY = 86400


def parse_file(text: str, previous: Policy | None) -> Policy:
    """Read a policy from TOML; `previous` is the version that it follows.

    Raises:
        MalformedError: not TOML (`not_toml`), a local time (`no_time_zone`), a float, or what
            `policy.parse` refuses.
        PolicyError: it contradicts itself.

    """
    try:
        found = _plain(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise MalformedError(
            "not_toml", f"the policy is not TOML: {error}", remedy="correct the file"
        ) from None
    found = {"format": "sluicegate.policy/1", "admins": [], "witnesses": []} | found
    if found.get("previous") is None:
        found["previous"] = previous.digest if previous is not None else None
    keys = found.get("keys")
    if isinstance(keys, list):
        found["keys"] = [{"revoked_at": None} | k if isinstance(k, dict) else k for k in keys]
    return policy.parse(canonical.encode(found))


def starting_point(
    audience: str, now: int, keys: Iterable[tuple[str, tuple[str, ...], str]]
) -> str:
    """A commented policy to edit, good for a year.

    Args:
        audience: the fleet's name.
        now: seconds since 1970 UTC.
        keys: person, roles and public key in hex of each key that is known.

    """
    begins = datetime.datetime.fromtimestamp(now, datetime.UTC).replace(microsecond=0)
    ends = begins + datetime.timedelta(days=365)
    entries = [_key(*entry, begins, ends) for entry in keys] or [
        '# [[keys]]\n# person = "alice"\n# roles = ["operator", "root"]\n'
        '# public = "…"  # sluicegate keys show alice.pem\n'
        f"# not_before = {_time(begins)}\n# not_after = {_time(ends)}\n"
    ]
    return TEMPLATE.format(
        audience=audience,
        begins=_time(begins),
        ends=_time(ends),
        roles=", ".join(ROLES),
        keys="\n".join(entries),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return int(value.timestamp())
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        raise MalformedError(
            "no_time_zone",
            f"{value} is not a moment",
            expected="a date and time with a zone, as 2027-01-31T00:00:00Z",
            remedy="correct the file",
        )
    return value


def _key(
    person: str,
    roles: tuple[str, ...],
    public: str,
    begins: datetime.datetime,
    ends: datetime.datetime,
) -> str:
    listed = ", ".join(f'"{role}"' for role in roles)
    return (
        f'[[keys]]\nperson = "{person}"\nroles = [{listed}]\npublic = "{public}"\n'
        f"not_before = {_time(begins)}\nnot_after = {_time(ends)}\n"
    )


def _time(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


TEMPLATE = """\
# Who may sign for what. Edit, then have every root sign: sluicegate policy sign
# The next version: raise `version` by one, and sign with --previous and the signed policy before.
version = 1
# The fleet's name. Nothing that was signed for one fleet counts in another.
audience = "{audience}"
valid_from = {begins}
# After this nothing is promoted; rolling back and revoking stay possible.
expires = {ends}
# How many people in the role "root" must sign a policy.
root_persons = 1

# One entry a key. Roles:
# {roles}.
# A service (gateway, ledger) holds no person's role; a trainer holds no other role.
# `revoked_at` takes a key out at once, with everything that it ever signed; a key that is merely
# replaced gets an earlier `not_after`. Keep keys of gateways while their deployments are served.
{keys}
# The first pattern that fits a model's name says its class of risk; * stands for any rest.
[[models]]
pattern = "*"
risk_class = "standard"

[risk_classes.standard]
# The longest that an approval, and a break-glass statement, may be valid.
approval_seconds = 86400
break_glass_seconds = 3600
# Gates at which the evidence bundle must be complete, of
# accept_eval, export, shadow, promote, validate.
evidence = ["shadow", "promote", "validate"]
# Of the live model's p99 while it was compared against without: what evidence has to show.
# harm_limit = "1.05"

# Each role must be filled by a person of its own, and `persons` people must sign in all.
[risk_classes.standard.rules]
shadow = {{ roles = ["operator"], persons = 1 }}
promote = {{ roles = ["domain_expert", "governance_approver"], persons = 2 }}
validate = {{ roles = ["domain_expert"], persons = 1 }}
deprecate = {{ roles = ["operator"], persons = 1 }}
rollback = {{ roles = ["operator"], persons = 1 }}
break_glass = {{ roles = ["security", "operator"], persons = 2 }}
revoke = {{ roles = ["security"], persons = 1 }}

# What the shadow comparison asks for. Decimals are text: "0.005".
[risk_classes.standard.shadow]

# Who may call the admin door: the SPIFFE ID in a client's certificate, as it is spelt.
# [[admins]]
# spiffe_id = "spiffe://example.org/ops/alice"
# roles = ["operator"]

# Outside parties that remember the ledger's head.
# [[witnesses]]
# name = "archive"
# public = "…"
"""
