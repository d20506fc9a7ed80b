"""`python -m bench [SCENARIO ...]`: run scenarios, write results, print the table."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from bench import scenario
from bench.doors import WrongAnswerError
from bench.load import LoadError
from bench.measure import MEASURES
from bench.results import side_by_side, table
from bench.scenario import ScenarioError
from bench.servers import ServerError
from bench.workload import WorkloadError
from trainer.datasets import DataError
from trainer.package_index import FetchError

RESULTS = Path(__file__).with_name("results")


def main(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Scenarios of bench/scenarios; all but those that train if left out."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where results go.", metavar="DIR")] = RESULTS,
) -> None:
    """Measure, one scenario after another; a figure that is missed makes the exit code 1."""
    console = Console(stderr=True)
    try:
        known = {s.name: s for s in scenario.all_scenarios()}
    except ScenarioError as error:
        raise typer.BadParameter(str(error)) from error
    if unknown := set(names or ()) - set(known):
        raise typer.BadParameter(f"no scenario {', '.join(unknown)}; there are {', '.join(known)}")
    results, failed = [], False
    # What recipes reach takes data that is not in the repository: by name only.
    ours = [name for name, one in known.items() if one.kind not in ("train", "neighbour")]
    for name in names or ours:
        with console.status(name) as status:
            try:
                result = MEASURES[known[name].kind](known[name], status.update)
            except (
                LoadError,
                ServerError,
                WorkloadError,
                WrongAnswerError,
                FetchError,
                DataError,
            ) as error:
                console.print(f"[red]{name}: {escape(str(error))}")
                failed = True
                continue
        result.write(out)
        results.append(result)
        console.print(table([result]))
    for result in results:
        if result.rows:
            Console().print(side_by_side(result))
    Console().print(table(results))
    for sentence in (s for r in results for s in r.unjudged):
        console.print(f"[red]{escape(sentence)}")
    missed = any(f.reached is False for r in results for f in r.figures)
    missed |= any(r.unjudged for r in results)
    raise typer.Exit(1 if missed or failed else 0)


if __name__ == "__main__":
    typer.run(main)
