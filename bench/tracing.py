"""What telemetry costs: 1% of requests traced and metrics on, against neither."""

from collections.abc import Iterator
from concurrent import futures
from contextlib import ExitStack, contextmanager
from typing import Any

import grpc

from bench import models, servers
from bench.load import run
from bench.results import Bar, Figure, Result
from bench.scenario import Scenario
from bench.setting import Say, conditions_of, load_spec, ok_per_s, workspace


@contextmanager
def _collector() -> Iterator[str]:
    """Takes whatever OTLP sends and keeps nothing."""

    def take(message: bytes, context: Any) -> bytes:
        return b""

    methods = {"Export": grpc.unary_unary_rpc_method_handler(take)}
    server = grpc.server(futures.ThreadPoolExecutor(2))
    for kind in ("trace.v1.Trace", "metrics.v1.Metrics"):
        service = f"opentelemetry.proto.collector.{kind}Service"
        handler = grpc.method_handlers_generic_handler(service, methods)
        server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(0)


def telemetry(s: Scenario, say: Say) -> Result:
    """Closed-loop throughput with telemetry against without, in turns.

    With: metrics, 1% of the requests traced, the control process exporting every five seconds
    from the server's own core. The ratio is that of each pair of windows.
    """
    with workspace("tabular", 1) as (repository, requests), ExitStack() as stack:
        models.pack_perceptron(repository)
        otlp = stack.enter_context(_collector())
        configs = {
            "on": f'[telemetry]\notlp = "{otlp}"\ntrace_ratio = 0.01\n',
            "off": "[telemetry]\nmetrics = false\n",
        }
        flags = ("--io-threads", str(s.io_threads))
        ports = {}
        for name, config in configs.items():
            started = servers.sluicegate(repository, s.server_cores, config, flags)
            ports[name] = stack.enter_context(started).port
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in configs}
        for turn in range(s.repeats):
            for name, port in ports.items():
                say(f"{s.name}: telemetry {name}, window {turn + 1} of {s.repeats}")
                runs[name].append(run(load_spec(s, requests, in_flight=s.in_flight), port))
    values = {name: [ok_per_s(r) for r in reports] for name, reports in runs.items()}
    ratios = tuple(a / b for a, b in zip(values["on"], values["off"], strict=True))
    figures = (
        Figure("throughput with telemetry against without", "times", ratios, s.target),
        *(Figure(f"telemetry {n}", "requests/s", tuple(v)) for n, v in values.items()),
    )
    bars = tuple(Bar(f.what, f.value) for f in figures[1:])
    pooled = tuple(r for reports in runs.values() for r in reports)
    conditions = conditions_of(s, in_flight=s.in_flight)
    return Result(s.name, s.title, conditions, figures, bars, "requests/s", pooled)
