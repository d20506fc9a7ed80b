"""What needs Ray: candidates side by side, one over several workers, nodes that die."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.tables import signer, spec_of
from tests.trainer.test_torch import base, posts
from trainer.cli.progress import folder_of, follow
from trainer.errors import SpecError, TrainError
from trainer.examples import of_rows
from trainer.loop import prepare
from trainer.loop.fit import locally, on_ray
from trainer.loop.phases import Fit
from trainer.specialise.methods import method
from trainer.specialise.trial import Outcome, Trial, run

pytestmark = pytest.mark.trainer


def test_the_loop_on_ray_proposes_what_it_proposes_alone(tmp_path: Path) -> None:
    spec, key = spec_of(tmp_path), signer()
    prepare.lock(spec, folder_of(spec, None, tmp_path / "seals"), key)
    on_ray = follow(spec, key, None, tmp_path / "seals", ray=True)
    alone = tmp_path / "alone"
    alone.mkdir()
    other = spec_of(alone)
    prepare.lock(other, folder_of(other, None, alone / "seals"), key)
    by_hand = follow(other, key, None, alone / "seals", ray=False)
    assert on_ray.proposed is not None
    assert by_hand.proposed is not None
    assert on_ray.proposed.digest == by_hand.proposed.digest


def fitted(fit: Fit, trials: list[Trial], train: Any) -> dict[int, Outcome]:
    found: dict[int, Outcome] = {}
    fit(trials, train, found.__setitem__)
    return found


def boosted(**more: float) -> Trial:
    first = dict(method("boosting").first) | {"iterations": 15} | more
    return Trial("boosting", first, np.ones(1000), 2, 7, nice=0)


def rows(n: int = 1000) -> Any:
    x = np.random.default_rng(1).normal(size=(n, 8))
    return of_rows(x, x[:, 0] > 0, [f"f{i}" for i in range(8)])


def test_candidates_side_by_side_are_those_that_are_fitted_alone() -> None:
    bad = replace(boosted(), weights=np.full(1000, np.nan))
    trials = [boosted(iterations=10), bad, boosted(iterations=20)]
    with on_ray() as fit:
        found = fitted(fit, trials, rows())
    alone = fitted(locally, trials, rows())
    assert found.keys() == alone.keys() == {0, 1, 2}
    for place in (0, 2):
        one, other = found[place].fitted, alone[place].fitted
        assert one is not None
        assert other is not None
        assert one.model.digest == other.model.digest
    # One that cannot be fitted is an outcome beside the others.
    assert found[1].failed == alone[1].failed != ""


def test_what_the_ledger_refuses_ends_the_round_with_its_own_error() -> None:
    def full(_place: int, _outcome: Outcome) -> None:
        raise TrainError("the ledger is full")

    with on_ray() as fit, pytest.raises(TrainError, match="the ledger is full"):
        fit([boosted()], rows(), full)


def text_trial(tmp_path: Path, workers: int, **more: float) -> Trial:
    folder = tmp_path / "base"
    small = {"epochs": 4, "rate": 0.02, "max_tokens": 12, "batch": 16, "dropout": 0.0} | more
    parameters = dict(method("text_lora").first) | small
    return Trial(
        "text_lora",
        parameters,
        np.ones(160),
        2,
        7,
        nice=0,
        base=str(folder if folder.exists() else base(tmp_path)),
        workers=workers,
        checkpoints=str(tmp_path / f"checkpoints-{workers}"),
    )


def test_two_workers_fit_what_one_fits(tmp_path: Path) -> None:
    # 160 texts in batches of 21 leave parts of unequal size, and a last batch of 13. Few steps, and
    # short ones: later ones carry what float32 rounds further.
    few = {"batch": 21, "epochs": 1, "rate": 0.002}
    one = text_trial(tmp_path, 1, **few)
    # The masks of the encoder's own dropout are another worker's business.
    path = tmp_path / "base" / "config.json"
    calm = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    path.write_text(json.dumps(json.loads(path.read_text()) | calm))
    alone = run(one, posts()).fitted
    with on_ray() as fit:
        found = fitted(fit, [text_trial(tmp_path, 2, **few)], posts())[0]
    assert found.failed == ""
    assert found.confined == run_confined()
    assert alone is not None
    assert found.fitted is not None
    off = np.abs(found.fitted.model.scores(posts()) - alone.model.scores(posts()))
    assert off.max() < 1e-5


def run_confined() -> bool:
    from trainer.specialise import sandbox  # noqa: PLC0415 - one test asks the kernel

    return sandbox.version() > 0


def test_a_fit_over_workers_that_diverges_is_an_outcome_and_not_tried_again(
    tmp_path: Path,
) -> None:
    given = text_trial(tmp_path, 2)
    bad = replace(given, weights=np.full(160, np.inf))
    with on_ray() as fit:
        found = fitted(fit, [bad], posts())[0]
    assert found.failed.startswith("The fit diverged: the loss of step 0")


def test_a_fit_over_workers_that_takes_too_long_is_an_outcome_and_not_tried_again(
    tmp_path: Path,
) -> None:
    given = replace(text_trial(tmp_path, 2, epochs=2000), seconds=20.0)
    with on_ray() as fit:
        found = fitted(fit, [given], posts())[0]
    assert found.failed == "It took longer than 20 s."
    assert starts(tmp_path, "fold") == [0]


def starts(folder: Path, part: str = "whole") -> list[int]:
    """Where each start of the fit on all cases, or of that without a fold, began."""
    lines = [f.read_text().splitlines() for f in folder.rglob(f"{part}-at.starts")]
    return [int(line.split()[0]) for one in lines for line in one]


def wait_until(true: Callable[[], Any], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head without processors, to which nodes are added."""
    import ray  # noqa: PLC0415 - not in every environment
    from ray.cluster_utils import Cluster  # noqa: PLC0415

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


def test_a_worker_that_dies_in_the_middle_goes_on_from_the_checkpoint(
    tmp_path: Path, cluster: Any
) -> None:
    import ray  # noqa: PLC0415

    more = {"epochs": 60, "checkpoint_steps": 20}
    cluster.add_node(num_cpus=1)
    second = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    kept = tmp_path / "checkpoints-2"
    with on_ray() as fit:
        found: dict[int, Outcome] = {}
        thread = threading.Thread(
            target=lambda: fit([text_trial(tmp_path, 2, **more)], posts(), found.__setitem__)
        )
        base(tmp_path)
        thread.start()
        wait_until(lambda: list(kept.rglob("whole-at.pt")))
        cluster.remove_node(second, allow_graceful=False)
        cluster.add_node(num_cpus=1)
        thread.join(400)
        assert not thread.is_alive()
        assert found[0].failed == ""
        begun = starts(kept)
        assert len(begun) == 2
        assert begun[0] == 0
        assert begun[1] >= 20
        # The same fit that nobody disturbs, in another folder of checkpoints.
        calm = replace(text_trial(tmp_path, 2, **more), checkpoints=str(tmp_path / "calm"))
        again = fitted(fit, [calm], posts())[0]
    assert again.fitted is not None
    assert found[0].fitted is not None
    assert found[0].fitted.model.digest == again.fitted.model.digest
    assert starts(tmp_path / "calm") == [0]


def test_several_workers_without_ray_or_for_tables_are_refused(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, nice="workers = 2")
    with pytest.raises(SpecError, match="without Ray there is one worker"):
        follow(spec, signer(), None, tmp_path / "seals", ray=False)
    with pytest.raises(SpecError, match="'boosting' fits in one process"):
        prepare.lock(spec, folder_of(spec, None, tmp_path / "seals"), signer())


def test_a_node_that_dies_in_the_middle_of_a_fit_costs_only_time(cluster: Any) -> None:
    import ray  # noqa: PLC0415

    train = rows(4000)
    first = dict(method("boosting").first) | {"iterations": 150}
    trial = Trial("boosting", first, np.ones(4000), 2, 7, nice=0)
    expected = run(trial, train)
    worker = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    with on_ray() as fit:
        found: dict[int, Outcome] = {}
        thread = threading.Thread(target=lambda: fit([trial], train, found.__setitem__))
        thread.start()
        time.sleep(8)
        cluster.remove_node(worker, allow_graceful=False)
        cluster.add_node(num_cpus=1)
        thread.join(240)
    assert expected.fitted is not None
    assert found[0].fitted is not None
    assert found[0].fitted.model.digest == expected.fitted.model.digest
