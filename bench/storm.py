"""A cancel storm: callers who go away at random moments, by the hundred thousand."""

from bench import models, servers
from bench.load import run
from bench.results import Figure, Result
from bench.scenario import Scenario
from bench.setting import Say, conditions_of, load_spec, model_status, workspace


def storm(s: Scenario, say: Say) -> Result:
    """Closed loop; `cancel_share` of the requests are reset within 2 ms of their start.

    The model takes 200 µs a batch, so that requests are cancelled on their way, in the queue and
    while they are computed. What is computed without an answer can only have been cancelled
    while it ran: a batch asks once more who is gone when it is taken off the queue.
    """
    with workspace("encoder", 1) as (repository, requests):
        models.pack_delay(repository, "encoder", 200, 0)
        flags = ("--io-threads", str(s.io_threads))
        with servers.sluicegate(repository, s.server_cores, flags=flags) as server:
            run(load_spec(s, requests, in_flight=64, duration_s=2.0), server.port)
            before, memory = model_status(server, "encoder"), server.resident_mb()
            runs = []
            for turn in range(s.repeats):
                say(f"{s.name}: storm {turn + 1} of {s.repeats}")
                spec = load_spec(
                    s,
                    requests,
                    in_flight=s.in_flight,
                    duration_s=0,
                    sends=1_000_000 // s.repeats,
                    cancel_share=s.cancel_share,
                    warmup_s=0.0,
                    seed=turn + 1,
                )
                runs.append(run(spec, server.port))
            after, grown = model_status(server, "encoder"), server.resident_mb() - memory
    counted = {key: after["requests"][key] - before["requests"][key] for key in after["requests"]}
    rows = sum(n * k for n, k in after["batch_sizes"]) - sum(
        n * k for n, k in before["batch_sizes"]
    )
    sent = sum(r["sent"] for r in runs)
    cancelled = sum(r["failures"].get("cancelled by this generator", 0) for r in runs)
    lost = sum(r["connections_lost"] for r in runs)
    broken = sum(sum(r["failures"].values()) for r in runs) - cancelled
    unaccounted = sum(counted.values()) - sent
    figures = (
        Figure("calls", "", (sent,), 1_000_000),
        Figure("of them cancelled", "%", (100 * cancelled / sent,)),
        Figure("connections lost", "", (lost,), 0, at_least=False),
        Figure("calls that failed otherwise", "", (broken,), 0, at_least=False),
        Figure("left in queues or at work after", "", (after["pending_requests"],), 0, False),
        Figure("memory grown", "MB", (grown,), 10, at_least=False),
        Figure(
            "computed and not answered", "% of rows", (100 * (rows - counted["answered"]) / rows,)
        ),
        Figure("calls that the server did not count", "", (-unaccounted,)),
    )
    told = conditions_of(s, in_flight=s.in_flight, cancel_share=s.cancel_share, outcomes=counted)
    return Result(s.name, s.title, told, figures, runs=tuple(runs))
