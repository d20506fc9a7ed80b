"""`sluicegate train`: describe a specialist, lock thresholds, run the loop, see why it ended."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.output import REFUSED, USAGE, emit, fail, say
from governance.cli.passphrase import PassphraseFile, passphrase
from governance.errors import GovernanceError
from governance.signer import FileSigner
from trainer.errors import LockError, SpecError, TrainError

if TYPE_CHECKING:
    from trainer.loop.prepare import Folder
    from trainer.spec.spec import Spec

app = typer.Typer(
    help=(
        "Make a better specialist and propose it: evaluate, diagnose, specialise, assess, propose."
        "\n\ntrain init --name fraud, then edit specialist.toml\n\n"
        "train lock specialist.toml --key tom.pem    signs thresholds and suites, before anything "
        "is fitted\n\n"
        "train run specialist.toml --key tom.pem     can be killed and goes on where it was\n\n"
        "train status specialist.toml, train explain specialist.toml"
    ),
    no_args_is_help=True,
)

File = Annotated[Path, typer.Argument(help="The specialist's file.", metavar="SPECIALIST.toml")]
AsJson = Annotated[bool, typer.Option("--json")]
KeyFile = Annotated[
    Path, typer.Option("--key", help="The trainer's key (role trainer).", metavar="FILE")
]
Runs = Annotated[
    Path | None,
    typer.Option(help="Where the run's ledger and models go [runs/NAME].", metavar="DIR"),
]
Seals = Annotated[
    Path,
    typer.Option(help="Where keys of held-out sets lie; not beside the data.", metavar="DIR"),
]
SEALS = Path.home() / ".sluicegate" / "seals"


PACKAGES = ("onnx", "scipy", "sklearn", "sqlite_utils", "tokenizers")


@app.callback()
def needs() -> None:
    """Refuse where the trainer extra was not installed."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        fail(f"{', '.join(missing)} missing: pip install 'sluicegate[trainer]'", USAGE, False)


@app.command()
def init(
    name: Annotated[str, typer.Option(help="The model's name.")],
    out: Annotated[Path, typer.Option(metavar="FILE")] = Path("specialist.toml"),
    recipe: Annotated[str | None, typer.Option(help="Begin with a recipe's file instead.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a commented specialist.toml."""
    from trainer.recipes.shipped import recipe_text  # noqa: PLC0415
    from trainer.recipes.sources import sources  # noqa: PLC0415
    from trainer.spec.spec import METRICS  # noqa: PLC0415
    from trainer.spec.template import template  # noqa: PLC0415
    from trainer.specialise.methods import methods  # noqa: PLC0415

    if out.exists():
        fail(f"{out} exists already: name another file with --out", USAGE, as_json)
    try:
        text = (
            recipe_text(recipe)
            if recipe
            else template(name, ", ".join(sources()), ", ".join(METRICS), ", ".join(methods()))
        )
        out.write_text(text)
    except TrainError as error:
        fail(str(error), USAGE, as_json)
    except OSError as error:
        fail(f"{out}: {error.strerror}", USAGE, as_json)
    say(f"{out} is written; next: edit it, then sluicegate train lock {out} --key KEY")
    if as_json:
        emit({"path": str(out)})


@app.command()
def lock(
    file: File,
    key: KeyFile,
    passphrase_file: PassphraseFile = None,
    runs: Runs = None,
    seals: Seals = SEALS,
    as_json: AsJson = False,
) -> None:
    """Draw the suites, seal the held-out set and sign the thresholds, before anything is fitted."""
    _locked(file, key, passphrase_file, runs, seals, as_json, again=False)


@app.command()
def rotate(
    file: File,
    key: KeyFile,
    passphrase_file: PassphraseFile = None,
    runs: Runs = None,
    seals: Seals = SEALS,
    as_json: AsJson = False,
) -> None:
    """Draw the held-out set anew, from the same data: the looks at it are used up.

    A set that the data itself gives (by time, or by the recipe) cannot be drawn anew: bring newer
    data.
    """
    _locked(file, key, passphrase_file, runs, seals, as_json, again=True)


def _locked(
    file: Path,
    key: Path,
    words: Path | None,
    runs: Path | None,
    seals: Path,
    as_json: bool,
    *,
    again: bool,
) -> None:
    from trainer.cli.progress import folder_of  # noqa: PLC0415
    from trainer.loop import prepare  # noqa: PLC0415
    from trainer.spec.read import read_spec  # noqa: PLC0415

    try:
        spec = read_spec(file)
        folder = folder_of(spec, runs, seals)
        signer = FileSigner.open(key, passphrase(words, as_json))
        version = prepare.version_of(folder) + (1 if again else 0)
        drawn = prepare.lock(spec, folder, signer, version)
    except SpecError as error:
        fail(str(error), USAGE, as_json)
    except (TrainError, GovernanceError) as error:
        fail(str(error), REFUSED, as_json)
    told = {
        "thresholds": str(folder.lock),
        "core": drawn.core.digest,
        "held_out": drawn.held_out.digest,
        "version": version,
        "training_cases": len(drawn.parts.train),
        "core_cases": len(drawn.core.kinds),
        "held_out_cases": len(drawn.held_out.kinds),
        "leaked": len(drawn.leaks.exact) + len(drawn.leaks.runs),
    }
    if as_json:
        emit(told)
    say(
        f"locked: {told['training_cases']:,} training cases, {told['core_cases']:,} core, "
        f"{told['held_out_cases']:,} held out and sealed, {told['leaked']} leaked; {folder.lock}"
    )


@app.command()
def run(
    file: File,
    key: KeyFile,
    passphrase_file: PassphraseFile = None,
    runs: Runs = None,
    seals: Seals = SEALS,
    address: Annotated[
        str | None, typer.Option(help="A Ray cluster's; this machine alone if left out.")
    ] = None,
    no_ray: Annotated[
        bool, typer.Option("--no-ray", help="Fit one after the other, without Ray.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run the loop to its end, from wherever it was. Exit code 1 if nothing could be proposed."""
    from trainer.cli.progress import Progress, follow  # noqa: PLC0415
    from trainer.spec.read import read_spec  # noqa: PLC0415
    from trainer.specialise.sandbox import give_way  # noqa: PLC0415

    try:
        spec = read_spec(file)
        signer = FileSigner.open(key, passphrase(passphrase_file, as_json))
        # What the loop computes itself gives way as its fits do.
        give_way(spec.specialise.nice)
        with Progress(spec) as progress:
            ended = follow(spec, signer, runs, seals, progress, ray=not no_ray, address=address)
    except SpecError as error:
        fail(str(error), USAGE, as_json)
    except (TrainError, LockError, GovernanceError) as error:
        fail(str(error), REFUSED, as_json)
    made = ended.proposed
    if as_json:
        from trainer.codec import to_plain  # noqa: PLC0415

        emit(
            {
                "run": ended.run,
                "outcome": ended.outcome,
                "reason": ended.reason,
                "proposed": to_plain(made) if made else None,
            }
        )
    say(f"{ended.outcome}: {ended.reason}")
    if made is None:
        raise typer.Exit(REFUSED)
    if not spec.served:
        say(
            f"judged offline, and no gateway serves it yet: nothing to hand in. The adapter is "
            f"{made.path}, its evidence {made.evidence}"
        )
        return
    say(
        f"next: sluicegate candidate submit {spec.name} {made.version} --provenance "
        f"{made.provenance} --evaluation {made.evaluation} --bundle {made.bundle} --evidence "
        f"{made.evidence}"
    )


def _with_teacher(file: Path, as_json: bool, work: Callable[[Any, Any, Any], Any]) -> Any:
    """What `work` makes of a specification, its teacher, and somebody to tell how far it is."""
    from rich.console import Console  # noqa: PLC0415

    from trainer.spec.read import read_spec  # noqa: PLC0415
    from trainer.teacher.ask import Endpoint  # noqa: PLC0415

    try:
        spec = read_spec(file)
        endpoint = Endpoint(spec.teacher, spec.decide.labels, spec.decide.descriptions)
        with Console(stderr=True).status("teacher") as shown:
            return work(spec, endpoint, shown.update)
    except SpecError as error:
        fail(str(error), USAGE, as_json)
    except TrainError as error:
        fail(str(error), REFUSED, as_json)


@app.command()
def label(
    file: File,
    texts: Annotated[Path, typer.Option(help="A table with texts to label.", metavar="CSV")],
    out: Annotated[Path, typer.Option(help="Where labelled texts go.", metavar="CSV")],
    as_json: AsJson = False,
) -> None:
    """Let a large model label texts, once it agrees with known cases; exit code 1 if not."""
    from trainer.codec import to_plain  # noqa: PLC0415
    from trainer.teacher.label import label as label_texts  # noqa: PLC0415

    made = _with_teacher(
        file, as_json, lambda spec, asked, tell: label_texts(spec, asked, texts, out, tell)
    )
    if as_json:
        emit(to_plain(made))
    say(
        f"{made.labelled:,} texts labelled in {out}, {made.silent:,} left without a label, "
        f"{made.calls:,} calls; the teacher agrees with at least {made.check.low:.3f} of known "
        f'cases. Next: data.more = "{out}", then lock.'
    )


@app.command()
def invent(
    file: File,
    out: Annotated[Path, typer.Option(help="Where the texts go.", metavar="CSV")],
    count: Annotated[int, typer.Option(min=2, help="Texts to ask for.")] = 200,
    as_json: AsJson = False,
) -> None:
    """Let a large model write examples, and keep those that it labels as it was asked to.

    First it has to agree with known cases; exit code 1 if not.
    """
    from trainer.codec import to_plain  # noqa: PLC0415
    from trainer.teacher.invent import invent as invent_texts  # noqa: PLC0415

    made = _with_teacher(
        file, as_json, lambda spec, asked, tell: invent_texts(spec, asked, count, out, tell)
    )
    if as_json:
        emit(to_plain(made))
    say(
        f"{made.kept:,} of {count:,} texts kept in {out}: {made.labelled_otherwise:,} were "
        f"labelled otherwise, {made.known_or_empty:,} known or empty, {made.near_a_suite:,} too "
        f'near a suite; {made.calls:,} calls. Next: data.more = "{out}", then lock.'
    )


@app.command()
def status(file: File, runs: Runs = None, seals: Seals = SEALS, as_json: AsJson = False) -> None:
    """Show how far the newest run is."""
    from trainer.cli.told import show_status  # noqa: PLC0415

    _show(show_status, file, runs, seals, as_json)


@app.command()
def explain(file: File, runs: Runs = None, seals: Seals = SEALS, as_json: AsJson = False) -> None:
    """Say why the newest run ended, what failed where, and what it would do next."""
    from trainer.cli.told import show_why  # noqa: PLC0415

    _show(show_why, file, runs, seals, as_json)


@app.command()
def watch(
    file: File,
    log: Annotated[Path, typer.Option(help="The gateway's decision log.", metavar="DIR")],
    reference: Annotated[
        int, typer.Option(min=200, help="The model's first so many requests are quiet.")
    ] = 2000,
    every: Annotated[
        float, typer.Option(min=10, help="Requests between two false alarms, at least.")
    ] = 100_000,
    runs: Runs = None,
    seals: Seals = SEALS,
    as_json: AsJson = False,
) -> None:
    """Look for drift in a decision log; exit code 1 and a wanted run if there is an alarm."""
    from trainer.cli.told import show_watched  # noqa: PLC0415

    def show(spec: Spec, folder: Folder, told: bool) -> None:
        show_watched(spec, folder, log, reference, every, told)

    _show(show, file, runs, seals, as_json)


def _show(
    what: Callable[[Spec, Folder, bool], None],
    file: Path,
    runs: Path | None,
    seals: Path,
    as_json: bool,
) -> None:
    from trainer.cli.progress import folder_of  # noqa: PLC0415
    from trainer.spec.read import read_spec  # noqa: PLC0415

    try:
        spec = read_spec(file)
        what(spec, folder_of(spec, runs, seals), as_json)
    except SpecError as error:
        fail(str(error), USAGE, as_json)
    except TrainError as error:
        fail(str(error), REFUSED, as_json)
