"""What the decision log costs: of a tenth of the requests and of all, against none."""

import re
from contextlib import ExitStack
from typing import Any
from urllib.request import urlopen

from bench import models, servers
from bench.load import run
from bench.results import Bar, Figure, Result
from bench.scenario import Scenario
from bench.servers import Contender
from bench.setting import Say, conditions_of, load_spec, ok_per_s, workspace

SHARES = {"a tenth": 0.1, "all": 1.0}
ROWS = re.compile(r'^sluicegate_decision_log_rows_total\{kind="decisions",outcome="(\w+)"\} (\d+)')


def decision_log(s: Scenario, say: Say) -> Result:
    """Closed-loop throughput with the log against without, in turns.

    Inputs are kept, the log's thread has the server's own core, and the load leaves it no idle
    time: what it does not get to write is dropped, and told beside. The ratio is that of each pair
    of windows; the target is for a tenth.
    """
    with workspace("tabular", 1) as (repository, requests), ExitStack() as stack:
        models.pack_perceptron(repository)
        flags = ("--io-threads", str(s.io_threads))
        running: dict[str, Contender] = {}
        for name, share in {"none": 0.0, **SHARES}.items():
            log = repository.parent / f"log-{share}"
            config = f'[decision_log]\nfolder = "{log}"\nshare = {share}\ninputs = "all"\n'
            started = servers.sluicegate(repository, s.server_cores, config if share else "", flags)
            running[name] = stack.enter_context(started)
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in running}
        for turn in range(s.repeats):
            for name, server in running.items():
                say(f"{s.name}: log of {name}, window {turn + 1} of {s.repeats}")
                spec = load_spec(s, requests, in_flight=s.in_flight)
                runs[name].append(run(spec, server.port))
        dropped = {name: _dropped(running[name]) for name in SHARES}
    values = {name: [ok_per_s(r) for r in reports] for name, reports in runs.items()}
    figures = []
    for name in SHARES:
        ratios = tuple(a / b for a, b in zip(values[name], values["none"], strict=True))
        target = s.target if name == "a tenth" else None
        what = f"throughput with a log of {name} against none"
        figures.append(Figure(what, "times", ratios, target))
        figures.append(Figure(f"log of {name}: rows dropped", "of all", (dropped[name],)))
    figures += [Figure(f"log of {n}", "requests/s", tuple(v)) for n, v in values.items()]
    bars = tuple(Bar(f.what, f.value) for f in figures if f.unit == "requests/s")
    pooled = tuple(r for reports in runs.values() for r in reports)
    conditions = conditions_of(s, in_flight=s.in_flight)
    return Result(s.name, s.title, conditions, tuple(figures), bars, "requests/s", pooled)


def _dropped(server: Contender) -> float:
    """The share of logged rows that were dropped or lost."""
    with urlopen(f"http://127.0.0.1:{server.http_port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    found = [match for line in lines if (match := ROWS.match(line))]
    rows = {match[1]: int(match[2]) for match in found}
    return (rows["dropped"] + rows["failed"]) / max(sum(rows.values()), 1)
