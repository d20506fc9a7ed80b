"""A tiny decoder with random weights, its tokeniser, and sections of notes for it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from trainer.notes.sections import Section

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
HEADERS = ("MED", "ROS")
SPEC = """
name = "sections"
task = "sections"
[data]
path = "notes.csv"
label = "header"
text = "dialogue"
note = "text"
positive = "MED"
split = "random"
duplicates = "drop"
core_share = 0.3
held_out_share = 0.3
consent_basis = "made up"
[evaluate]
leak_share = 1.0
leak_words = 50
regressions_allowed = {allowed}
resamples = 100
reruns = 1
[[evaluate.gates]]
metric = "header_accuracy"
limit = {limit}
[[evaluate.gates]]
metric = "critical_recall"
limit = 0.5
[[evaluate.gates]]
metric = "nats_a_token"
limit = 2.0
[specialise]
methods = ["decoder_lora"]
base = "tiny"
trials = 1
folds = 2
nice = 0
[specialise.parameters]
rank = 4
rate = 0.02
epochs = 3
batch = 8
max_tokens = 12
text_tokens = 6
checkpoint_steps = 4
{more}
[stop]
rounds = 1
trials = 1
seconds = 600.0
[propose]
repository = "adapters"
owner = "owner"
validator = "validator"
intended_use = "a test"
"""


def write_base(folder: Path) -> str:
    """The decoder as a Hugging Face directory."""
    import torch  # noqa: PLC0415 - not in every environment
    from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: PLC0415
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast  # noqa: PLC0415

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


def sections(n: int = 24, extra: int = 3) -> list[Section]:
    """Every other one is about medication; `extra` words of a dialogue mean nothing."""
    random = np.random.default_rng(5)
    found = []
    for i in range(n):
        heard = "aspirin pollen" if i % 2 else "cough fever"
        more = " ".join(random.choice(WORDS[:5], extra))
        found.append(Section("MED" if i % 2 else "ROS", heard, f"{heard} {more}"))
    return found


def write_spec(folder: Path, limit: float = 0.8, allowed: int = 30, more: str = "") -> Path:
    """specialist.toml with its table and its base model."""
    if not (folder / "tiny").exists():
        write_base(folder / "tiny")
    with (folder / "notes.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["header", "text", "dialogue"])
        out.writerows([one.header, one.text, one.dialogue] for one in sections(500, 9))
    path = folder / "specialist.toml"
    path.write_text(SPEC.format(limit=limit, allowed=allowed, more=more))
    return path
