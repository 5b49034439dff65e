"""Checkpoints of the bundled model: one file with all that a model needs to be used, and all that a run needs to go on.

Written whole or not at all, and read without running code from the file (``weights_only``).
"""

from __future__ import annotations

import io
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from stepgym.errors import StoreError
from stepgym.store import replacing
from stepgym.trainers.config import ModelConfig
from stepgym.trainers.model import Transformer
from stepgym.trainers.tokenizer import CharTokenizer

FILE = "checkpoint.pt"
"""In the folder of a run: a checkpoint of the bundled model."""
LINK = "checkpoint"
"""In the folder of a run: the link to a checkpoint in HuggingFace's format (`stepgym.trainers.huggingface`)."""
FORMAT = "stepgym checkpoint 1"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model and its tokenizer; from a run that may go on, also the optimiser's state and the steps done."""

    model: Transformer
    tokenizer: CharTokenizer
    step: int = 0
    optimiser: Any = None
    """The optimiser's ``state_dict``: torch's own format."""
    critic: Any = None
    """The critic's ``state_dict``, of a recipe that has one."""


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the file `path` in one step. Raises `StoreError`."""
    content = {
        "format": FORMAT,
        "config": asdict(checkpoint.model.config),
        "alphabet": checkpoint.tokenizer.alphabet,
        "pieces": list(checkpoint.tokenizer.pieces),
        "weights": checkpoint.model.state_dict(),
        "optimiser": checkpoint.optimiser,
        "critic": checkpoint.critic,
        "step": checkpoint.step,
    }
    made = io.BytesIO()  # on a full disk, torch's own writing ends in an error that says nothing
    torch.save(content, made)
    with replacing(path) as partial, partial.open("wb") as file:
        file.write(made.getbuffer())
        file.flush()
        os.fsync(file.fileno())


def load_checkpoint(path: Path, *, device: str = "cpu") -> Checkpoint:
    """Read a checkpoint: the file itself, or the folder of a run. Raises `StoreError`."""
    file = path / FILE if path.is_dir() else path
    linked = path / LINK
    if linked.exists():
        raise StoreError(f"{linked} is a HuggingFace model; sample it with --policy transformers --model {linked}")
    if not file.exists():
        raise StoreError(f"there is no checkpoint at {file}; `stepgym train` makes one")
    try:
        content = torch.load(file, map_location=device, weights_only=True)
    except Exception as error:  # whatever torch, pickle or zip make of a file that is something else
        raise StoreError(f"{file} cannot be read as a checkpoint ({type(error).__name__})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise StoreError(f"{file} is not a checkpoint that this version of stepgym reads ({FORMAT!r})")
    tokenizer = CharTokenizer(content["alphabet"], content["pieces"])
    model = Transformer(len(tokenizer), ModelConfig(**content["config"]))
    model.load_state_dict(content["weights"])
    return Checkpoint(model.to(device), tokenizer, content["step"], content["optimiser"], content.get("critic"))
