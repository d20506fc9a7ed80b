"""`sluicegate bundle`: the evidence of a candidate, from its first document to its page."""

import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.output import REFUSED, USAGE, emit, fail, say
from governance import canonical, shape
from governance.bundle import folder
from governance.bundle.folder import Bundle
from governance.bundle.groups import GROUPS, Group
from governance.bundle.harm import harm
from governance.bundle.measure import cost, read_run
from governance.bundle.measured import Run, Serving
from governance.bundle.page import render as render_page
from governance.bundle.requirements import missing
from governance.bundle.verify import Verification
from governance.bundle.verify import verify as verify_bundle
from governance.cli.checks import read_chain, show_checks, show_sum
from governance.cli.outcome import refuse, write_file
from governance.dsse import Envelope
from governance.errors import GovernanceError, MalformedError
from governance.vocabulary import GATES

app = typer.Typer(
    help=(
        "The evidence of a candidate: one folder that grows with it and verifies offline.\n\n"
        "A data scientist begins it (create), adds documents and signed statements as they come "
        "(add), and the load generator's reports (measure). Everybody else reads: show says what "
        "is there and what each gate still needs; render writes one page for the domain expert; "
        "verify checks everything on a machine without network.\n\n"
        "Documents are NAME.json or NAME.toml, NAME one of " + ", ".join(GROUPS) + "; their JSON "
        'Schemas are governance/schemas/bundle-NAME.json. Decimals are text: "0.93". Statements '
        "are envelopes as `approve` and the gateway write them.\n\n"
        "bundle create EVIDENCE --model fraud --candidate sha256:…\n\n"
        "bundle add EVIDENCE purpose.toml lineage.json provenance.json\n\n"
        "bundle show EVIDENCE --gate promote\n\n"
        "bundle verify EVIDENCE --policy policies/ --pin sha256:…\n\n"
        "bundle render EVIDENCE --policy policies/ --pin sha256:… --out fraud.html"
    ),
    no_args_is_help=True,
)

Folder = Annotated[Path, typer.Argument(help="The bundle's folder.", metavar="DIR")]
AsJson = Annotated[bool, typer.Option("--json")]
Policies = Annotated[
    list[Path] | None,
    typer.Option(
        "--policy",
        help="Every version of the signed policy, in order, or a folder of N.json.",
        metavar="FILE|DIR",
    ),
]
Pin = Annotated[
    str | None,
    typer.Option(help="The first policy's digest, known from elsewhere.", metavar="sha256:HEX"),
]


@app.command()
def create(
    root: Folder,
    model: Annotated[str, typer.Option(help="The model's name.")],
    candidate: Annotated[str, typer.Option(help="Its digest.", metavar="sha256:HEX")],
    as_json: AsJson = False,
) -> None:
    """Begin the evidence of a candidate in a new folder."""
    with _refusing(as_json):
        _grown(folder.create(root, model, candidate), as_json)


@app.command()
def add(
    root: Folder,
    files: Annotated[
        list[Path], typer.Argument(help="Documents and statements.", metavar="FILE...")
    ],
    attach: Annotated[
        list[Path] | None, typer.Option(help="A file of any kind; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add documents (a document that is there is replaced) and signed statements.

    What is there already is verified first. The bundle gets a new digest and names the one before.
    """
    groups: dict[str, Group] = {}
    statements: list[Envelope] = []
    with _refusing(as_json):
        for file in files:
            document = _document(file, as_json)
            if isinstance(document, dict) and "payloadType" in document:
                statements.append(Envelope.from_json(_bytes(file, as_json)))
            elif file.stem in GROUPS:
                groups[file.stem] = shape.read(GROUPS[file.stem], document, file.stem)
            else:
                fail(
                    f"{file} is no signed statement, and no document has that name: "
                    + ", ".join(GROUPS),
                    USAGE,
                    as_json,
                )
        attached = {f"attachments/{file.name}": _bytes(file, as_json) for file in attach or ()}
        _grown(folder.add(root, groups, statements, attached), as_json)


@app.command()
def measure(
    root: Folder,
    candidate: Annotated[
        Path, typer.Option(help="The load generator's report of the candidate.", metavar="FILE")
    ],
    machine: Annotated[str, typer.Option(help="What it was measured on.")],
    incumbent: Annotated[
        Path | None, typer.Option(help="… of the incumbent at the same load.", metavar="FILE")
    ] = None,
    incumbent_digest: Annotated[str | None, typer.Option(metavar="sha256:HEX")] = None,
    capacity: Annotated[
        Path | None, typer.Option(help="… of the candidate at its capacity.", metavar="FILE")
    ] = None,
    without_shadow: Annotated[
        list[Path] | None,
        typer.Option(help="… of the incumbent without a shadow; in turns.", metavar="FILE"),
    ] = None,
    with_shadow: Annotated[
        list[Path] | None, typer.Option(help="… with one; in the same order.", metavar="FILE")
    ] = None,
    price: Annotated[
        str | None, typer.Option(help="Price of a core for an hour, as 0.042; needs --capacity.")
    ] = None,
    currency: Annotated[str, typer.Option(help="Of the price.")] = "EUR",
    server_cores: Annotated[str, typer.Option(help="Cores that the server had.")] = "1",
    generator_cores: Annotated[str, typer.Option(help="Cores of the load generator.")] = "1",
    as_json: AsJson = False,
) -> None:
    """Add latency and cost from reports of sluicegate-loadgen (`--json`).

    The reports themselves are kept too, so that everybody can derive the same figures again.
    """
    measured = incumbent is not None or bool(without_shadow or with_shadow)
    if measured != (incumbent_digest is not None):
        fail("reports of the incumbent and --incumbent-digest go together", USAGE, as_json)
    if price is not None and capacity is None:
        fail("--price needs the decisions a second of --capacity", USAGE, as_json)
    files: dict[str, bytes] = {}
    with _refusing(as_json):
        held = folder.open_bundle(root)
        digests = {"incumbent": incumbent_digest or held.candidate}
        given = {"candidate": candidate, "incumbent": incumbent, "capacity": capacity}
        runs = {}
        for name, file in given.items():
            if file is not None:
                path = f"measurements/{name}.json"
                files[path] = _bytes(file, as_json)
                runs[name] = read_run(files[path], path, digests.get(name, held.candidate))
        windows: dict[str, tuple[Run, ...]] = {}
        for name, some in (("without", without_shadow), ("with", with_shadow)):
            windows[name] = ()
            for number, file in enumerate(some or (), 1):
                path = f"measurements/{name}-shadow-{number}.json"
                files[path] = _bytes(file, as_json)
                windows[name] += (read_run(files[path], path, digests["incumbent"]),)
        serving = Serving(
            machine=machine,
            server_cores=server_cores,
            generator_cores=generator_cores,
            candidate=runs["candidate"],
            incumbent=runs.get("incumbent"),
            capacity=runs.get("capacity"),
            cost=cost(runs["capacity"], price, server_cores, currency) if price else None,
            without_shadow=windows["without"] or None,
            with_shadow=windows["with"] or None,
        )
        if serving.with_shadow:
            say(f"p99 with the shadow is {float(harm(serving)):.3f} times that without")
        _grown(folder.add(root, {"serving": serving}, files=files), as_json)


@app.command()
def verify(
    root: Folder,
    policy: Policies = None,
    pin: Pin = None,
    expect: Annotated[
        str | None,
        typer.Option(help="The bundle's digest, where an approval names it.", metavar="sha256:HEX"),
    ] = None,
    model_dir: Annotated[
        Path | None, typer.Option(help="The model directory NAME/N, to be hashed too.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Show what holds as well.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check everything offline: files, signatures, verdicts, figures; say what could not be.

    Hashes every file, checks every signature under the policy of its time, recomputes the shadow
    verdict from its integers, the evaluation from its figures, latency and cost from the raw
    reports. Exit code 1 with findings. What is still open is no finding.
    """
    found = _verified(root, policy, pin, as_json, expect=expect, model_folder=model_dir)
    bundle = found.bundle
    if as_json:
        emit(
            {
                "sound": found.sound,
                "model": bundle.model if bundle else None,
                "candidate": bundle.candidate if bundle else None,
                "digest": bundle.digest if bundle else None,
                "checks": [line.as_json() for line in found.checks.lines],
            }
        )
    show_checks(found.checks, everything=everything)
    if bundle is not None:
        say(f"{bundle.model} {bundle.candidate}, bundle {bundle.digest}")
    show_sum(found.checks, "holds", "does not hold")
    raise typer.Exit(0 if found.sound else REFUSED)


@app.command()
def show(
    root: Folder,
    gate: Annotated[str | None, typer.Option(help=" or ".join(GATES) + ".")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what is there and what each gate still needs. Checks no signature.

    With --gate: exit code 1 if that gate would refuse.
    """
    if gate is not None and gate not in GATES:
        fail(f"there is no gate '{gate}': {', '.join(GATES)}", USAGE, as_json)
    with _refusing(as_json):
        bundle = folder.open_bundle(root)
    lacking = {name: missing(bundle, name) for name in GATES}
    wanted = {name: paths for name, paths in lacking.items() if gate in (None, name)}
    if as_json:
        emit(
            {
                **_named(bundle),
                "history": [manifest.digest for manifest in bundle.history],
                "groups": {name: shape.write(group) for name, group in bundle.groups.items()},
                "statements": {
                    digest: signed.statement.predicate.TYPE
                    for digest, signed in bundle.statements.items()
                },
                "missing": wanted,
            }
        )
    else:
        _tables(bundle, wanted)
    raise typer.Exit(REFUSED if gate is not None and wanted[gate] else 0)


@app.command()
def render(
    root: Folder,
    out: Annotated[Path, typer.Option(help="Where the page goes.", metavar="FILE.html")],
    policy: Policies = None,
    pin: Pin = None,
    as_json: AsJson = False,
) -> None:
    """Write one HTML page for the domain expert: what changes, the evidence, who has to sign.

    It opens offline. What does not verify is said on the page, at its top. Exit code 1 then.
    """
    found = _verified(root, policy, pin, as_json)
    if found.bundle is None:
        show_checks(found.checks, everything=False)
        fail(f"{root} cannot be read whole", REFUSED, as_json)
    page = render_page(found, int(time.time())).encode()
    write_file(out, page, as_json, replace=True)
    say(f"{out}: {len(page):,} bytes")
    show_sum(found.checks, "holds", "does not hold")
    if as_json:
        emit({"path": str(out), **_named(found.bundle), "sound": found.sound})
    raise typer.Exit(0 if found.sound else REFUSED)


def _verified(
    root: Path, policy: list[Path] | None, pin: str | None, as_json: bool, **more: Any
) -> Verification:
    if not policy or pin is None:
        fail("say whose signatures count: --policy FILE|DIR and --pin sha256:HEX", USAGE, as_json)
    chain = read_chain(policy, as_json)
    return verify_bundle(root, chain, pin, int(time.time()), **more)


def _named(bundle: Bundle) -> dict[str, Any]:
    return {"model": bundle.model, "candidate": bundle.candidate, "digest": bundle.digest}


def _grown(bundle: Bundle, as_json: bool) -> None:
    say(f"{bundle.root}: {bundle.digest}, {len(bundle.manifest.files)} files")
    for gate in GATES:
        if lacking := missing(bundle, gate):
            say(f"the gate '{gate}' still needs {', '.join(lacking)}")
            break
    if as_json:
        emit(_named(bundle))


def _tables(bundle: Bundle, lacking: dict[Any, tuple[str, ...]]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    say(f"{bundle.model} {bundle.candidate}, bundle {bundle.digest}")
    documents = Table("document", "fields")
    for name in GROUPS:
        fields = shape.write(bundle.groups[name]) if name in bundle.groups else {}
        documents.add_row(name, ", ".join(fields) or "[yellow]not there yet")
    kinds = [s.statement.predicate.TYPE for s in bundle.statements.values()]
    for kind in sorted(set(kinds)):
        documents.add_row("statements", f"{kinds.count(kind)} of {kind}")
    gates = Table("gate", "still needs")
    for gate, paths in lacking.items():
        gates.add_row(gate, ", ".join(paths) or "[green]nothing")
    console = Console()
    console.print(documents)
    console.print(gates)


def _document(file: Path, as_json: bool) -> object:
    data = _bytes(file, as_json)
    if file.suffix == ".toml":
        try:
            return tomllib.loads(data.decode(), parse_float=_no_float)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise MalformedError("not_toml", f"{file}: {error}") from error
    return canonical.parse_json(data)


def _no_float(text: str) -> str:
    raise MalformedError("float", f"{text} is a number with a point", expected=f'text: "{text}"')


def _bytes(file: Path, as_json: bool) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        fail(f"{file}: {error.strerror}", USAGE, as_json)


@contextmanager
def _refusing(as_json: bool) -> Iterator[None]:
    try:
        yield
    except GovernanceError as error:
        if error.reason in ("no_bundle", "folder_not_empty"):
            fail(str(error), USAGE, as_json)
        refuse(error, as_json)
