"""The dashboard asks for nothing that the server does not tell."""

import json
import re
from pathlib import Path
from urllib.request import urlopen

from bench import models
from bench.servers import Contender
from tests.calls import Client, request

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "sluicegate.json"


def test_every_metric_of_the_dashboard_is_one_of_the_servers(
    server: Contender, client: Client
) -> None:
    client.infer(request("tabular", models.rows(1)))
    with urlopen(f"http://127.0.0.1:{server.http_port}/metrics", timeout=5) as answer:
        told = set(re.findall(r"^(\w+)", answer.read().decode(), re.MULTILINE))
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = {
        name
        for panel in panels
        for target in panel["targets"]
        for name in re.findall(r"\b((?:sluicegate|nv_inference)_\w+)", target["expr"])
    }
    assert len(asked) > 10
    assert asked <= told, asked - told
