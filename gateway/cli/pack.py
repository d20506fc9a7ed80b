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
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Make DIR/NAME/N from an ONNX graph: contract, manifest, digest.

    Inputs and outputs are read from the graph; the first dimension of each must be the batch, of
    variable size. The same model packed twice keeps its number.
    """
    from gateway.packing import Decision, PackError, pack_graph  # noqa: PLC0415

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
        packed = pack_graph(graph, name, out, decision)
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
