"""The `sluicegate` command."""

import typer

from gateway.cli import decisions, engines, feedback, models, pack, serve, status
from governance.cli import (
    approve,
    audit,
    bundle,
    candidate,
    emergency,
    exchange,
    fleet,
    home,
    keys,
    live,
    log,
    policy,
    shadow,
    statements,
)
from trainer.cli import train

EPILOG = "Exit codes: 0 done, 1 refused by a check, 2 usage, 3 unreachable. Every command: --json."

app = typer.Typer(
    help=(
        "Serve small specialist models over gRPC, in micro-batches that respect every caller's "
        "deadline.\n\nFirst steps: pack GRAPH.onnx --name NAME --out MODELS, then "
        "serve --models MODELS --allow-unsigned, then status."
    ),
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command(epilog=EPILOG)(serve.serve)
app.command(epilog=EPILOG)(pack.pack)
app.add_typer(models.app, name="models", epilog=EPILOG)
app.add_typer(engines.app, name="engines", epilog=EPILOG)
app.command(epilog=EPILOG)(status.status)
app.add_typer(decisions.app, name="decisions", epilog=EPILOG)
app.command(epilog=EPILOG)(feedback.feedback)
app.add_typer(keys.app, name="keys", epilog=EPILOG)
app.add_typer(policy.app, name="policy", epilog=EPILOG)
app.command(epilog=EPILOG)(approve.approve)
app.command("break-glass", epilog=EPILOG)(emergency.break_glass)
app.command(epilog=EPILOG)(emergency.revoke)
app.add_typer(statements.app, name="statement", epilog=EPILOG)
app.add_typer(log.app, name="log", epilog=EPILOG)
app.add_typer(home.app, name="governance", epilog=EPILOG)
app.add_typer(candidate.app, name="candidate", epilog=EPILOG)
app.add_typer(shadow.app, name="shadow", epilog=EPILOG)
app.add_typer(bundle.app, name="bundle", epilog=EPILOG)
app.add_typer(train.app, name="train", epilog=EPILOG)
app.command(epilog=EPILOG)(audit.audit)
for command in (live.promote, live.rollback, exchange.decide, exchange.submit, exchange.fetch):
    app.command(epilog=EPILOG)(command)
app.command(epilog=EPILOG)(live.events)
app.command(epilog=EPILOG)(fleet.fleet)


def main() -> None:
    """Run the command line."""
    app()
