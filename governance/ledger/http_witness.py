"""A witness behind HTTP (c2sp.org/tlog-witness): it is sent each head with a proof, and cosigns it.

That the ledger is an old copy shows when the next head is refused, at the latest when the service
starts. One that also answers `GET PREFIX/checkpoint/HEX`, HEX the SHA-256 of the log's origin, with
the last head and its cosignature, can be read back by whoever verifies the ledger (the protocol
itself has no such call). Who has the witness's key checks its cosignatures offline.
"""

import base64
import hashlib
import http.client
import ssl
import threading
from typing import Final
from urllib.parse import urlsplit

from governance.ledger.checkpoint import Checkpoint, open_checkpoint
from governance.ledger.errors import NoteError, ProofError, WitnessError
from governance.ledger.note import COSIGNATURE, NoteKey, open_note, parse_key, split_note
from governance.ledger.witness import Prove

# A promotion waits so long for a witness, twice at most.
SECONDS: Final = 3.0
MOST_BYTES: Final = 64 * 1024
MOST_PROOF: Final = 63
# How far the time in a cosignature may be from ours.
CLOCKS_SECONDS: Final = 300


class HttpWitness:
    """A witness at a submission prefix, `https://…`; plain `http://` only on this machine.

    Args:
        url: the prefix, to which `/add-checkpoint` is added.
        log: the ledger's key.
        key: the witness's own, of kind COSIGNATURE.

    Raises:
        WitnessError: `bad_witness`: the address or the key is none.

    """

    def __init__(self, url: str, log: NoteKey, key: NoteKey) -> None:
        parts = urlsplit(url)
        local = parts.hostname in ("127.0.0.1", "::1", "localhost")
        if not parts.hostname or not (
            parts.scheme == "https" or (parts.scheme == "http" and local)
        ):
            raise WitnessError(
                "bad_witness",
                f"{url}: a witness is reached by https, or by http on this machine",
            )
        if key.kind != COSIGNATURE:
            raise WitnessError("bad_witness", f"the key of {key.name} is none that cosigns")
        self._url, self._log, self._key = parts, log, key
        # What it cosigned last, as far as we know.
        self._size = 0
        self._last: str | None = None
        self._turn = threading.Lock()

    @classmethod
    def parse(cls, told: str, log: NoteKey) -> "HttpWitness":
        """Read `URL KEY` as the settings have it. Raises WitnessError: `bad_witness`."""
        url, _, key = told.partition(" ")
        try:
            return cls(url, log, parse_key(key))
        except NoteError as error:
            raise WitnessError(
                "bad_witness", f"{url}: {error}", expected="the address, a space, its verifier key"
            ) from error

    @property
    def name(self) -> str:
        """The witness's address."""
        return self._url.geturl()

    def heads(self) -> list[str]:
        """The head that it cosigned last to this process, if any."""
        return [self._last] if self._last else []

    def publish(self, note: str, prove: Prove, now: int) -> str:
        """As `Witness.publish`. Its cosignature counts if it is by its key and of about now."""
        try:
            head, _ = open_checkpoint(note, self._log)
        except NoteError as error:
            raise WitnessError(error.reason, f"{self.name}: {error}") from error
        with self._turn:
            status, reply = self._post(head, note, prove)
            if status == http.client.CONFLICT and (told := self._told(reply)) != self._size:
                # Somebody else, or an earlier process, was there before us.
                if told > head.size:
                    raise WitnessError(
                        "went_back",
                        f"{self.name} has seen {told} entries, this head is of {head.size}: an old "
                        "copy?",
                    )
                self._size = told
                status, reply = self._post(head, note, prove)
            if status in (http.client.CONFLICT, http.client.UNPROCESSABLE_ENTITY):
                raise WitnessError(
                    "fork", f"this head does not continue the one that {self.name} has seen"
                )
            if status != http.client.OK:
                raise WitnessError(
                    "witness_refused",
                    f"{self.name} answered {status}",
                    remedy="it knows a log by its origin and key: give it log.key",
                )
            line = self._cosigned(note, reply, now)
            self._size, self._last = head.size, note
            return line

    def remembered(self) -> str:
        """The last head that it cosigned, with its cosignature, as it tells now.

        Raises:
            WitnessError: `witness_unreachable`, `not_read_back` (it tells none), `not_cosigned`.

        """
        place = hashlib.sha256(self._log.name.encode()).hexdigest()
        status, reply = self._ask("GET", f"checkpoint/{place}")
        if status != http.client.OK:
            raise WitnessError(
                "not_read_back",
                f"{self.name} answered {status} when it was asked for the last head it cosigned",
                remedy="ask whoever runs it for that head in a file: --witness 'FILE KEY'",
            )
        return cosigned(reply, self._log, self._key, self.name)

    def _post(self, head: Checkpoint, note: str, prove: Prove) -> tuple[int, str]:
        old = min(self._size, head.size)
        try:
            proof = prove(old, head.size) if 0 < old < head.size else []
        except ProofError as error:
            raise WitnessError("fork", f"{self.name}: {error}") from error
        if len(proof) > MOST_PROOF:
            raise WitnessError("fork", f"a proof of {len(proof)} hashes is none")
        lines = [f"old {old}", *(base64.b64encode(each).decode() for each in proof), ""]
        return self._ask("POST", "add-checkpoint", "\n".join(lines) + "\n" + note)

    def _ask(self, method: str, what: str, body: str | None = None) -> tuple[int, str]:
        """Status and text of an answer. Raises WitnessError: `witness_unreachable`."""
        try:
            connection = self._connection()
            try:
                path = f"{self._url.path.rstrip('/')}/{what}"
                sent = None if body is None else body.encode()
                connection.request(method, path, sent, {"Content-Type": "text/plain"})
                answer = connection.getresponse()
                reply = answer.read(MOST_BYTES + 1)
            finally:
                connection.close()
            if len(reply) > MOST_BYTES:
                raise ValueError(f"an answer of more than {MOST_BYTES} bytes")
            return answer.status, reply.decode()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise WitnessError("witness_unreachable", f"{self.name}: {error}") from error

    def _connection(self) -> http.client.HTTPConnection:
        host, port = str(self._url.hostname), self._url.port
        if self._url.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=SECONDS)
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, port, timeout=SECONDS, context=context)

    def _told(self, reply: str) -> int:
        """The size that a conflict tells."""
        size = reply.removesuffix("\n")
        if not (size.isascii() and size.isdigit() and len(size) <= 18):
            raise WitnessError("witness_refused", f"{self.name} told no size: {size[:60]!r}")
        return int(size)

    def _cosigned(self, note: str, reply: str, now: int) -> str:
        """The one line of the reply that is the witness's own."""
        try:
            opened = open_note(note + reply, [self._key])
            at = opened.times[self._key.name]
            if abs(at - now) > CLOCKS_SECONDS:
                raise NoteError("bad_time", f"its cosignature is of {at}, it is {now}")
            lines = reply.splitlines(keepends=True)
            text = split_note(note)[0]
            own = (line for line in lines if self._is_own(f"{text}\n{line}"))
            return next(own)
        except (NoteError, StopIteration) as error:
            raise WitnessError(
                "not_cosigned", f"{self.name} did not cosign this head: {error}"
            ) from error

    def _is_own(self, note: str) -> bool:
        try:
            return bool(open_note(note, [self._key]).signers)
        except NoteError:
            return False


def is_address(told: str) -> bool:
    """Whether a witness is told by its address, and not by a file."""
    return told.startswith(("https://", "http://"))


def cosigned(note: str, log: NoteKey, witness: NoteKey, name: str) -> str:
    """A head that both the log and the witness have signed.

    Raises:
        WitnessError: `not_cosigned`, or `bad_witness`: the key is none that cosigns.

    """
    if witness.kind != COSIGNATURE:
        raise WitnessError("bad_witness", f"the key of {witness.name} is none that cosigns")
    try:
        _, opened = open_checkpoint(note, log, [witness])
        if witness not in opened.signers:
            raise NoteError("not_signed", f"{witness.name} has not cosigned it")
    except NoteError as error:
        raise WitnessError(
            "not_cosigned", f"what {name} remembers is not cosigned: {error}"
        ) from error
    return note
