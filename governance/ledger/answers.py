"""What a witness has kept, read back by whoever verifies the ledger: over HTTP, or from a file.

An answer is the last head that it cosigned, with its cosignature: a signed note. It is taken only
with the witness's own cosignature; the log's signature alone would be the log's word about itself.
"""

from pathlib import Path
from typing import Final

from governance.ledger.errors import NoteError, WitnessError
from governance.ledger.http_witness import HttpWitness, cosigned, is_address
from governance.ledger.note import NoteKey, parse_key
from governance.ledger.witness import FileWitness

MOST_BYTES: Final = 64 * 1024


def seen_by(told: str, log: NoteKey) -> list[str]:
    """Heads that a witness remembers, oldest first.

    Args:
        told: a witness's own file; `URL KEY`, which is asked; or `FILE KEY`, an answer that was
            exported. KEY is the witness's verifier key, NAME+ID+BASE64.
        log: the ledger's key.

    Raises:
        WitnessError: it cannot be reached or read, or what it says is not cosigned by it.

    """
    place, _, key = told.partition(" ")
    if is_address(place):
        return [HttpWitness.parse(told, log).remembered()]
    path = Path(place)
    if not path.is_file():
        raise WitnessError("witness_unreachable", f"there is no {path}")
    if not key:
        return FileWitness(path, log).heads()
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        return [cosigned(data.decode(), log, parse_key(key), place)]
    except (OSError, ValueError) as error:
        raise WitnessError("witness_unreachable", f"{path}: {error}") from error
    except NoteError as error:
        raise WitnessError("bad_witness", f"{path}: {error}") from error
