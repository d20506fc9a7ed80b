"""LoRA on a decoder: it learns, goes on after a kill, and is judged as whole texts would be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.errors import InputError, TrainError
from trainer.notes import decoder, judge
from trainer.notes.sections import Section
from trainer.notes.settings import Fit

pytestmark = pytest.mark.trainer
WORDS = (
    "cough",
    "fever",
    "aspirin",
    "pollen",
    "surgery",
    "Dialogue",
    ":",
    "Section",
    "Note",
    "MED",
    "ROS",
)
FIT = Fit(rank=4, rate=0.02, epochs=6, batch=4, dialogue_tokens=8, text_tokens=6)
HEADERS = ("MED", "ROS")


@pytest.fixture
def base(tmp_path: Path) -> str:
    """A tiny decoder with random weights and a tokeniser of words, as a directory."""
    import torch  # noqa: PLC0415 - not in every environment
    from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: PLC0415
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast  # noqa: PLC0415

    folder = tmp_path / "tiny"
    vocabulary = {word: i for i, word in enumerate(("<unk>", "<end>", *WORDS))}
    made = Tokenizer(models.WordLevel(vocabulary, "<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=made,
        unk_token="<unk>",  # noqa: S106
        eos_token="<end>",  # noqa: S106
    ).save_pretrained(folder)
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        eos_token_id=1,
        bos_token_id=None,
        # With the usual 0.02 words that are frozen could not say anything with certainty.
        initializer_range=0.5,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


def sections(n: int = 24) -> list[Section]:
    random = np.random.default_rng(5)
    found = []
    for i in range(n):
        heard = "aspirin pollen" if i % 2 else "cough fever"
        extra = " ".join(random.choice(WORDS[:5], 3))
        found.append(Section("MED" if i % 2 else "ROS", heard, f"{heard} {extra}"))
    return found


def fitted(base: str, fit: Fit = FIT, checkpoint: Path | None = None) -> Any:
    model = decoder.load(base, fit)
    return decoder.learn(model, decoder.Words(base, fit), sections(), fit, 7, checkpoint)


def learnt(model: Any) -> np.ndarray[Any, Any]:
    weights = [w.detach().float().numpy().ravel() for w in model.parameters() if w.requires_grad]
    return np.concatenate(weights)


def test_it_learns_headers_and_texts(base: str) -> None:
    words, some = decoder.Words(base, FIT), sections()
    before = judge.judged(decoder.load(base, FIT), words, some, HEADERS, "cpu")
    after = judge.judged(fitted(base), words, some, HEADERS, "cpu")
    truth = np.array([one.header for one in some])
    assert (np.array(after.named) == truth).mean() > 0.9
    assert after.nats.sum() < 0.7 * before.nats.sum()


def test_answers_by_a_dialogue_that_is_read_once_are_those_of_whole_texts(base: str) -> None:
    import torch  # noqa: PLC0415

    model, words = decoder.load(base, FIT), decoder.Words(base, FIT)
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
    model, words = decoder.load(base, FIT), decoder.Words(base, FIT)
    rows = [words.told(one) for one in sections(3)]
    together = decoder.losses(model, rows, words.end, "cpu").detach().numpy()
    alone = [decoder.losses(model, [row], words.end, "cpu").detach().numpy() for row in rows]
    assert len(together) == sum(len(row.said) for row in rows)
    assert together == pytest.approx(np.concatenate(alone), abs=1e-4)


def test_layers_that_are_computed_again_end_with_the_same_adapter(base: str) -> None:
    plain = learnt(fitted(base))
    again = learnt(fitted(base, replace(FIT, gradient_checkpointing=True)))
    assert again == pytest.approx(plain, abs=1e-5)


def test_a_fit_in_bfloat16_learns_too(base: str) -> None:
    words, half = decoder.Words(base, FIT), replace(FIT, dtype="bfloat16")
    before = judge.judged(decoder.load(base, half), words, sections(), HEADERS, "cpu")
    after = judge.judged(fitted(base, half), words, sections(), HEADERS, "cpu")
    assert after.nats.sum() < before.nats.sum()


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
    model = decoder.load(base, fit)
    words = decoder.Words(base, fit)
    again = decoder.learn(model, words, sections(), fit, 7, kept, steps.append)
    assert steps[0].startswith("step 13 of 36")
    assert (learnt(again) == whole).all()


def test_a_loss_that_is_not_finite_ends_the_fit(base: str) -> None:
    import torch  # noqa: PLC0415

    model = decoder.load(base, FIT)
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(TrainError, match="the loss of step 0 is not finite"):
        decoder.learn(model, decoder.Words(base, FIT), sections(), FIT, 7)


def test_a_base_that_is_no_decoder_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "no such kind"}')
    with pytest.raises(InputError, match="is no decoder"):
        decoder.load(str(tmp_path), FIT)
