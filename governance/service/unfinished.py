"""A note on a promotion that goes on: what is live again if it does not end.

It is promotions/MODEL.json in the governance folder.
"""

import json
from dataclasses import asdict, dataclass

from governance import canonical
from governance.home import Home, Live, write


@dataclass(frozen=True)
class Note:
    """`deployment` is the candidate's; `before` what the folder called live; `back` what answered.

    The two differ only where governance had made nothing live yet.
    """

    deployment: str
    before: Live | None
    back: str | None


def keep(home: Home, model: str, note: Note) -> None:
    """Write the note, before the folder or the data plane is touched."""
    write(home.root / "promotions" / f"{model}.json", canonical.encode(asdict(note)))


def find(home: Home, model: str) -> Note | None:
    """The note of a model, if a promotion of it has not ended."""
    path = home.root / "promotions" / f"{model}.json"
    if not path.is_file():
        return None
    told = json.loads(path.read_bytes())
    before = Live(**told["before"]) if told["before"] else None
    return Note(told["deployment"], before, told["back"])


def forget(home: Home, model: str) -> None:
    """The promotion has ended, one way or the other."""
    (home.root / "promotions" / f"{model}.json").unlink(missing_ok=True)


def live_after(candidate: str, deployment: str, before: Live | None) -> Live:
    """What the folder calls live once a candidate has taken the place of what was before."""
    if before is None:
        return Live(candidate, deployment)
    return Live(candidate, deployment, before.model_digest, before.deployment)
