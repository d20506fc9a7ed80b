"""`sluicegate shadow`: compare a candidate with what is live, on live traffic."""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.output import REFUSED, USAGE, emit, fail, say
from governance.cli.remote import (
    Approvals,
    AsJson,
    Where,
    asks,
    connected,
    plain,
    read_files,
    short,
    tell,
)

if TYPE_CHECKING:
    from rich.table import Table

app = typer.Typer(help="Compare a candidate with the live model.", no_args_is_help=True)
COLOURS = {"PASS": "green", "FAIL": "red", "INCONCLUSIVE": "yellow"}

Model = Annotated[str, typer.Argument(help="The model's name.")]


@app.command()
@asks
def start(
    model: Model,
    candidate: Annotated[str, typer.Argument(metavar="sha256:HEX")],
    where: Where,
    approval: Approvals = None,
    share: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Share of all batches mirrored beside the pairs."),
    ] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Begin a comparison that an operator has signed for. It spends an attempt.

    Pairs are chosen without --share, one a time block; more mirrored batches only make the counts
    of rows fuller, and cost idle time.
    """
    from governance.wire import admin_pb2 as pb  # noqa: PLC0415

    request = pb.StartShadowRequest(
        model=model,
        candidate=candidate,
        approvals=read_files(approval, as_json),
        share_ppm=round(share * 1e6),
    )
    with connected(where, as_json) as client:
        told = client.call(request, "StartShadow")
    text = f"{model}: comparing {short(candidate)} with {short(told.incumbent)}"
    tell(told, f"{text}, attempt {told.attempt}", as_json)


@app.command()
@asks
def stop(model: Model, where: Where, as_json: AsJson = False) -> None:
    """End a comparison without a verdict; its attempt stays spent."""
    from governance.wire import admin_pb2 as pb  # noqa: PLC0415

    with connected(where, as_json) as client:
        done = client.call(pb.StopShadowRequest(model=model), "StopShadow")
    tell(done, f"{model}: the comparison was stopped", as_json)


@app.command()
@asks
def status(
    model: Model,
    where: Where,
    watch: Annotated[bool, typer.Option("--watch", help="Until it ends.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show counts, intervals, what is still needed, and why the verdict is what it is.

    With --watch it follows the comparison to its end: exit code 0 for PASS, 1 for anything else;
    with --json one object a second.
    """
    from governance.wire import admin_pb2 as pb  # noqa: PLC0415

    request = pb.ShadowStatusRequest(model=model)
    with connected(where, as_json) as client:
        if not watch:
            told = client.call(request, "ShadowStatus")
            _show(told, as_json)
            return
        last = _watch(client.stream(request, "WatchShadow"), as_json)
    if last is None or not last.ended:
        fail(f"{model}: the service ended before the comparison did", USAGE, as_json)
    word = typer.style(last.verdict, fg=COLOURS[last.verdict], bold=True)
    say(f"{model}: {word}" + (f", report {last.report}" if last.report else ", without a report"))
    raise typer.Exit(0 if last.verdict == "PASS" and last.report else REFUSED)


def _watch(answers: Iterable[Any], as_json: bool) -> Any:
    last = None
    if as_json:
        for last in answers:
            emit(plain(last))
        return last
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415

    with Live(console=Console(stderr=True), refresh_per_second=4) as live:
        for last in answers:
            live.update(_table(last))
    return last


def _show(told: Any, as_json: bool) -> None:
    if as_json:
        emit(plain(told))
        return
    from rich.console import Console  # noqa: PLC0415

    Console().print(_table(told))


def _table(told: Any) -> "Table":
    from rich.table import Table  # noqa: PLC0415

    colour = COLOURS[told.verdict]
    counts = told.counts
    ends = ", ".join(
        f"{counts[name]:,} {name.replace('_', ' ')}"
        for name in ("complete", "candidate_error", "candidate_timeout", "shed", "incumbent_error")
    )
    reasons = [f"{r.reason}: {r.sentence}" for r in told.reasons]
    labels = (
        f"{counts['labelled']:,} outcomes have come; the candidate alone was wrong in "
        f"{counts['only_candidate_wrong']:,} of them, the live model alone in "
        f"{counts['only_incumbent_wrong']:,}; McNemar's log10 E {told.log10_e_mcnemar}"
    )
    table = Table(
        "gate",
        "against",
        "of",
        "limit",
        "confidence interval",
        "pairs still needed",
        title=(
            f"{told.model}: {short(told.candidate)} for {short(told.incumbent)}, attempt "
            f"{told.attempt} at alpha {told.alpha}: [bold {colour}]{told.verdict}[/]"
        ),
        caption="\n".join([ends, labels, *_fleet(told), *reasons]),
        caption_justify="left",
    )
    for gate in told.gates:
        windows = gate.gate == "latency"
        against = gate.trials - gate.events if windows else gate.events
        needed = f"{gate.pairs_needed:,}" if gate.HasField("pairs_needed") else "not expected"
        table.add_row(
            gate.gate,
            f"{against:,}",
            f"{gate.trials:,}" + (" windows" if windows else ""),
            f"over half good, {_percent(gate.limit)}" if windows else _percent(gate.limit),
            f"{_percent(gate.low)} to {_percent(gate.high)}" + (" good" if windows else ""),
            needed,
        )
    return table


def _fleet(told: Any) -> list[str]:
    """What gateways that compare along have reported; the counts above are then of all together."""

    def one(share: Any) -> str:
        until = time.strftime("until %H:%M:%S UTC", time.gmtime(share.ended))
        seen = until if share.ended else "nothing reported yet"
        return f"{share.gateway}: {share.d:,} of {share.n:,} pairs, {seen}"

    return [one(share) for share in told.fleet]


def _percent(text: str) -> str:
    return f"{float(text):.3%}"
