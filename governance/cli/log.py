"""`sluicegate log`: verify the ledger, prove and show its entries, export it. All offline."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.output import REFUSED, USAGE, emit, fail, say
from governance.errors import GovernanceError
from governance.ledger import export as exports
from governance.ledger.answers import seen_by
from governance.ledger.checkpoint import open_checkpoint
from governance.ledger.http_witness import HttpWitness
from governance.ledger.kinds import parse_body
from governance.ledger.note import NoteKey, parse_key
from governance.ledger.read import reading
from governance.ledger.verify import verify as verify_ledger

app = typer.Typer(
    help="Verify, prove, export and show the ledger of what was decided.", no_args_is_help=True
)
LARGE = 2000

LedgerFile = Annotated[Path, typer.Argument(help="The ledger's file.", metavar="LEDGER")]
LogKey = Annotated[
    str,
    typer.Option("--key", help="The log's verifier key, NAME+ID+BASE64, or a file that has it."),
]
Out = Annotated[Path | None, typer.Option(help="Write here.", metavar="FILE")]
AsJson = Annotated[bool, typer.Option("--json")]


@app.command()
def verify(
    ledger: LedgerFile,
    key: LogKey,
    witness: Annotated[
        list[str] | None,
        typer.Option(
            help="A witness: its file, 'URL KEY' to ask it, or 'FILE KEY', an answer of it; may be "
            "given again."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check every entry, every signed head and what witnesses saw. Exit code 1 if one is wrong."""
    log = _key(key, as_json)
    with _told(as_json), _progress("verifying") as progress:
        heads = [note for told in witness or () for note in seen_by(told, log)]
        found = verify_ledger(ledger, log, heads, progress)
    if as_json:
        emit(
            {
                "origin": found.origin,
                "size": found.size,
                "root": found.root.hex(),
                "witnessed": found.witnessed,
                "sound": found.sound,
                "findings": [
                    {"reason": finding.reason, "sentence": finding.sentence}
                    for finding in found.findings
                ],
            }
        )
    for finding in found.findings:
        say(typer.style(f"{finding.reason}: {finding.sentence}", fg="red"))
    if found.sound:
        say(f"sound: {found.size:,} entries, root {found.root.hex()}")
    if not witness:
        say("no witness was asked: entries taken off the end would not have been missed")
    elif found.witnessed < found.size:
        say(f"witnesses saw {found.witnessed:,} entries; those after are the ledger's word alone")
    raise typer.Exit(0 if found.sound else REFUSED)


@app.command()
def witnessed(
    witness: Annotated[str, typer.Argument(help="'URL KEY' of a witness.", metavar="WITNESS")],
    key: LogKey,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Fetch the last head that a witness cosigned: a text that `verify --witness` takes offline."""
    log = _key(key, as_json)
    with _told(as_json):
        note = HttpWitness.parse(witness, log).remembered()
    size = open_checkpoint(note, log)[0].size
    _give(note, out, {"size": size, "note": note}, as_json)


@app.command()
def prove(
    ledger: LedgerFile,
    index: Annotated[int, typer.Argument(help="The entry's number.")],
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Write the proof that an entry is in the log: a text that verifies offline."""
    with _told(as_json), reading(ledger) as reader:
        proof = exports.prove(reader, index)
    _give(proof, out, {"index": index, "proof": proof}, as_json)


@app.command("check")
def check_proof(
    proof: Annotated[Path, typer.Argument(help="A proof as `prove` writes it.", metavar="PROOF")],
    key: LogKey,
    as_json: AsJson = False,
) -> None:
    """Check a proof with the log's key and nothing else. Exit code 1 if it does not hold."""
    log = _key(key, as_json)
    with _told(as_json):
        found = exports.read_proof(_text(proof, as_json), log)
    told = _entry(found.index, found.entry.kind, found.entry.key, found.entry.body)
    if as_json:
        emit({**told, "size": found.checkpoint.size})
    say(f"entry {found.index} of {found.checkpoint.size:,}: {found.entry.kind}, proven")


@app.command()
def export(ledger: LedgerFile, out: Out = None, as_json: AsJson = False) -> None:
    """Write every entry as a JSON line, and the signed head as the last one."""
    lines = 0
    with _told(as_json), reading(ledger) as reader, _progress("exporting") as progress:
        if out is None:
            for line in exports.export_lines(reader):
                sys.stdout.write(line + "\n")
            return
        with out.open("w") as file:
            for line in exports.export_lines(reader, progress):
                file.write(line + "\n")
                lines += 1
    say(f"wrote {lines - 1:,} entries and the head to {out}")
    if as_json:
        emit({"file": str(out), "entries": lines - 1})


@app.command()
def show(
    ledger: LedgerFile,
    start: Annotated[int, typer.Option("--from", help="First entry.", min=0)] = 0,
    kind: Annotated[str | None, typer.Option(help="Only entries of this kind.")] = None,
    model: Annotated[str | None, typer.Option(help="Only entries of this model.")] = None,
    as_json: AsJson = False,
) -> None:
    """List entries, oldest first."""
    with _told(as_json), reading(ledger) as reader:
        told = [
            _entry(row.index, row.kind, row.key, row.body)
            for row in reader.rows(start)
            if kind in (None, row.kind)
        ]
        head = reader.head
    told = [entry for entry in told if model in (None, entry["body"].get("model"))]
    if as_json:
        emit({"entries": told, "head": head})
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table("entry", "time", "kind", "model", "what")
    for entry in told:
        body = dict(entry["body"])
        at, name = _time(body.pop("at", 0)), str(body.pop("model", ""))
        rest = ", ".join(f"{field} {_short(value)}" for field, value in body.items())
        table.add_row(str(entry["index"]), at, entry["kind"], name, rest)
    Console().print(table)


def _entry(index: int, kind: str, key: str, body: bytes) -> dict[str, Any]:
    return {"index": index, "kind": kind, "key": key, "body": parse_body(bytes(body))}


def _short(value: Any) -> str:
    if isinstance(value, list):
        roles = [signer["role"] for approval in value for signer in approval["signers"]]
        return "by " + " and ".join(roles)
    text = str(value)
    return text[:19] + "…" if text.startswith("sha256:") else text


def _time(seconds: int) -> str:
    from datetime import UTC, datetime  # noqa: PLC0415

    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def _key(text: str, as_json: bool) -> NoteKey:
    try:
        path = Path(text)
        return parse_key(path.read_text() if path.is_file() else text)
    except (GovernanceError, OSError, ValueError) as error:
        fail(f"--key: {error}", USAGE, as_json)


def _text(path: Path, as_json: bool) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError) as error:
        fail(f"{path}: {error}", USAGE, as_json)


def _give(text: str, out: Path | None, told: dict[str, Any], as_json: bool) -> None:
    if out is not None:
        out.write_text(text)
        say(f"wrote {out}")
    if as_json:
        emit(told)
    elif out is None:
        sys.stdout.write(text)


@contextmanager
def _told(as_json: bool) -> Iterator[None]:
    """Turn a refusal of the library into a sentence and an exit code."""
    missing = {"no_ledger", "cannot_open", "no_such_leaf", "not_a_ledger"}
    try:
        yield
    except GovernanceError as error:
        fail(str(error), USAGE if error.reason in missing else REFUSED, as_json)


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on standard error once there is much to do, if a person is looking."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None, visible=False)

        def update(done: int, total: int) -> None:
            if total >= LARGE and done % 100 in (0, 1):
                bar.update(task, completed=done, total=total, visible=True)

        yield update
