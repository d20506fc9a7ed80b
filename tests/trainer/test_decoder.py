"""LoRA on a decoder: it learns, goes on after a kill, and is judged as whole texts would be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.tiny_decoder import HEADERS, sections, write_base
from trainer.errors import InputError, TrainError
from trainer.evaluation.metrics import Answer
from trainer.notes import decoder, judge
from trainer.notes.settings import Fit

pytestmark = pytest.mark.trainer
FIT = Fit(rank=4, rate=0.02, epochs=6, batch=4, max_tokens=8, text_tokens=6)


@pytest.fixture
def base(tmp_path: Path) -> str:
    return write_base(tmp_path / "tiny")


def words_of(base: str) -> decoder.Words:
    return decoder.Words(base, FIT.max_tokens, FIT.text_tokens)


def loaded(base: str, fit: Fit = FIT) -> Any:
    return decoder.load(base, fit.device, fit.dtype)


def answers(base: str, model: Any) -> Any:
    return judge.answers(model, words_of(base), sections(), HEADERS, ["MED"], "cpu")


def fitted(
    base: str,
    fit: Fit = FIT,
    checkpoint: Path | None = None,
    model: Any = None,
    say: Callable[[str], None] = lambda _text: None,
) -> Any:
    words = words_of(base)
    rows = [words.told(one) for one in sections()]
    own = loaded(base, fit) if model is None else model
    return decoder.learn(
        own, rows, np.ones(len(rows)), words.end, fit, 7, checkpoint=checkpoint, say=say
    )


def learnt(model: Any) -> np.ndarray[Any, Any]:
    weights = [w.detach().float().numpy().ravel() for w in model.parameters() if w.requires_grad]
    return np.concatenate(weights)


def test_it_learns_headers_and_texts(base: str) -> None:
    before, after = answers(base, loaded(base)), answers(base, fitted(base))
    assert after[:, Answer.RIGHT].mean() > 0.9
    assert after[:, Answer.NATS].sum() < 0.7 * before[:, Answer.NATS].sum()
    # Every other one is of the header that must not be missed.
    assert after[1::2, Answer.CRITICAL].min() > 0.5 > after[::2, Answer.CRITICAL].max()


def test_a_header_that_weighs_more_is_learnt_better(base: str) -> None:
    texts = answers(base, fitted(base, replace(FIT, epochs=2, header_weight=0.05)))
    heads = answers(base, fitted(base, replace(FIT, epochs=2, header_weight=0.95)))
    assert heads[:, Answer.RIGHT].sum() > texts[:, Answer.RIGHT].sum()
    assert heads[:, Answer.NATS].sum() > texts[:, Answer.NATS].sum()


def test_answers_by_a_dialogue_that_is_read_once_are_those_of_whole_texts(base: str) -> None:
    import torch  # noqa: PLC0415

    model, words = loaded(base), words_of(base)
    given = words.given(sections()[0])
    said = [
        words.header("MED"),
        words.header("ROS"),
        (*words.header("ROS"), *words.text(sections()[0])),
    ]
    found = judge.after(model, given, said, words.end, "cpu")
    for one, got in zip(said, found, strict=True):
        whole = torch.tensor([[*given, *one]])
        logits = model(input_ids=whole).logits[0].log_softmax(-1)
        wanted = [float(logits[len(given) - 1 + i, token].detach()) for i, token in enumerate(one)]
        assert got == pytest.approx(wanted, abs=1e-4)


def test_losses_are_of_what_is_to_be_said_alone(base: str) -> None:
    model, words = loaded(base), words_of(base)
    rows = [words.told(one) for one in sections(3)]
    together = decoder.losses(model, rows, words.end, "cpu").detach().numpy()
    alone = [decoder.losses(model, [row], words.end, "cpu").detach().numpy() for row in rows]
    assert len(together) == sum(len(row.said) for row in rows)
    assert together == pytest.approx(np.concatenate(alone), abs=1e-4)


def test_both_means_are_over_the_whole_batch_however_it_is_cut(base: str) -> None:
    words = words_of(base)
    batch = [words.told(one) for one in sections(5)]
    whole = decoder.shares(batch, batch, np.ones(5), 0.3)
    parts = [decoder.shares(batch[i::2], batch, np.ones(len(batch[i::2])), 0.3) for i in (0, 1)]
    assert whole.sum() == pytest.approx(1)
    assert sum(part.sum() for part in parts) == pytest.approx(1)
    header = len(batch[0].header)
    assert whole[:header].sum() == pytest.approx(0.3 * header / sum(len(b.header) for b in batch))


def test_layers_that_are_computed_again_end_with_the_same_adapter(base: str) -> None:
    plain = learnt(fitted(base))
    again = learnt(fitted(base, replace(FIT, checkpointing=True)))
    assert again == pytest.approx(plain, abs=1e-5)


def test_a_fit_in_bfloat16_learns_too(base: str) -> None:
    half = replace(FIT, bf16=True)
    before, after = answers(base, loaded(base, half)), answers(base, fitted(base, half))
    assert after[:, Answer.NATS].sum() < before[:, Answer.NATS].sum()


def test_a_fit_goes_on_from_its_checkpoint_as_if_nothing_had_been(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = learnt(fitted(base))
    kept, fit = tmp_path / "at.pt", replace(FIT, checkpoint_steps=4)
    calls, losses = 0, decoder.losses

    def dies(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 15:
            raise KeyboardInterrupt
        return losses(*args)

    monkeypatch.setattr(decoder, "losses", dies)
    with pytest.raises(KeyboardInterrupt):
        fitted(base, fit, kept)
    monkeypatch.setattr(decoder, "losses", losses)
    steps: list[str] = []
    again = fitted(base, fit, kept, say=steps.append)
    assert steps[0].startswith("step 13 of 36")
    assert (learnt(again) == whole).all()


def test_a_loss_that_is_not_finite_ends_the_fit(base: str) -> None:
    import torch  # noqa: PLC0415

    model = loaded(base)
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(TrainError, match="the loss of step 0 is not finite"):
        fitted(base, model=model)


def test_a_base_that_is_no_decoder_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "no such kind"}')
    with pytest.raises(InputError, match="is no decoder"):
        loaded(str(tmp_path))
