"""`sluicegate pack`: make a model directory."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.output import REFUSED, USAGE, emit, fail, say


def pack(
    graph: Annotated[Path, typer.Argument(help="An ONNX graph, weights inside.")],
    name: Annotated[str, typer.Option(help="The model's name.")],
    out: Annotated[Path, typer.Option(help="The repository to put it into.", metavar="DIR")],
    threshold: Annotated[
        float | None, typer.Option(help="The decision: whether the output reaches this value.")
    ] = None,
    output: Annotated[
        str | None, typer.Option(help="Which output decides [score].", show_default=False)
    ] = None,
    column: Annotated[int, typer.Option(min=0, help="Which of its columns.")] = 0,
    labels: Annotated[
        str, typer.Option(help="Names of the two decisions: below, at or above the threshold.")
    ] = "no,yes",
    fallback: Annotated[
        str | None,
        typer.Option(
            help="Answer in place of an error when shed or late: OUTPUT=VALUE[,VALUE...], one for "
            "each output, ; between them.",
            metavar="VALUES",
        ),
    ] = None,
    refuse_nan: Annotated[
        bool, typer.Option("--refuse-nan", help="Refuse requests with NaN or infinities.")
    ] = False,
    unbatched: Annotated[
        bool, typer.Option("--unbatched", help="Requests share no batches; shapes are fixed.")
    ] = False,
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="A tokenizer.json: callers send text, the graph gets its tokens."),
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=2, help="Tokens of a text at most.")] = 64,
    max_bytes: Annotated[
        int, typer.Option(min=2, help="Bytes of a text that are looked at, at most.")
    ] = 2048,
    string_bytes: Annotated[
        int,
        typer.Option(min=1, help="Bytes of one string at most, where the graph takes strings."),
    ] = 256,
    engine: Annotated[str, typer.Option(help="What runs the graph.")] = "onnxruntime",
    file: Annotated[
        list[Path] | None,
        typer.Option("--file", help="A further file: engine.toml, an adapter's values."),
    ] = None,
    contract: Annotated[
        Path | None,
        typer.Option(
            help="The contract, in place of one read from the graph: for graphs with inputs that "
            "callers do not send."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Make DIR/NAME/N from an ONNX graph: contract, manifest, digest.

    Inputs and outputs are read from the graph; the first dimension of each must be the batch, of
    variable size, unless --unbatched. The same model packed twice keeps its number.
    """
    from gateway.packing import (  # noqa: PLC0415
        CONTRACT,
        GRAPH,
        Decision,
        PackError,
        Text,
        Wishes,
        pack_files,
        pack_graph,
    )

    decision = None
    if threshold is not None:
        names = labels.split(",")
        if len(names) != 2:
            fail(
                f"--labels takes two names with a comma between them, not '{labels}'",
                USAGE,
                as_json,
            )
        decision = Decision(output or "score", threshold, (names[0], names[1]), column)
    elif output is not None or column:
        fail(
            "--output and --column say where the decision is: they need --threshold", USAGE, as_json
        )
    try:
        text = Text(tokenizer.read_bytes(), "text", max_tokens, max_bytes) if tokenizer else None
        files = {path.name: path.read_bytes() for path in file or []}
        whole = {GRAPH: graph, CONTRACT: contract} if contract else {}
        own = {where: path.read_bytes() for where, path in whole.items()}
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}", USAGE, as_json)
    wishes = Wishes(
        decision=decision,
        fallback=_fallback(fallback, as_json),
        non_finite="refuse" if refuse_nan else "allow",
        unbatched=unbatched,
        text=text,
        string_bytes=string_bytes,
        engine=engine,
        files=files,
    )
    try:
        if own:
            packed = pack_files(files | own, name, out)
        else:
            packed = pack_graph(graph, name, out, wishes=wishes)
    except PackError as error:
        fail(str(error), REFUSED, as_json)
    say(f"{packed.path}: {packed.digest}{'' if packed.new else ' (was there already)'}")
    if as_json:
        emit(
            {
                "path": str(packed.path),
                "name": packed.name,
                "version": packed.version,
                "digest": packed.digest,
                "new": packed.new,
            }
        )


def _fallback(said: str | None, as_json: bool) -> dict[str, list[float]] | None:
    if said is None:
        return None
    values = {}
    for part in said.split(";"):
        output, _, numbers = part.partition("=")
        try:
            values[output.strip()] = [float(number) for number in numbers.split(",")]
        except ValueError:
            fail(f"--fallback takes OUTPUT=VALUE[,VALUE...], not '{part}'", USAGE, as_json)
    return values
