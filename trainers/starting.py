"""Which model a run begins with, and where in its folder it goes on."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from stepgym.errors import ConfigError
from stepgym.trainers.backbone import Backbone, RunState, Saved
from stepgym.trainers.bundled import Bundled, load_bundled
from stepgym.trainers.checkpoint import FILE, LINK
from stepgym.trainers.config import TrainConfig
from stepgym.trainers.model import Transformer
from stepgym.trainers.tokenizer import CharTokenizer

HUB = "hf:"
"""Begins the name of a model on HuggingFace's hub."""


def first_backbone(config: TrainConfig) -> Backbone:
    """The model that a new run starts from. Raises `ConfigError`, `StoreError` or `PolicyError`."""
    check_device(config.device)
    if config.start is not None:
        return load_backbone(config.start, config.device)
    tokenizer = CharTokenizer()
    return Bundled(Transformer.seeded(len(tokenizer), config.model, config.seed).to(config.device), tokenizer)


def load_backbone(start: Path, device: str) -> Backbone:
    """A model to start from.

    A checkpoint or the folder of a run, a folder with a HuggingFace model, or ``hf:owner/name`` for one on the hub.
    """
    place = huggingface_place(start)
    if place is None:
        return load_bundled(start, device).backbone
    from stepgym.trainers.huggingface import load_huggingface

    return load_huggingface(place, device)


def saved_run(config: TrainConfig) -> Saved:
    """Where a run stands: at its last checkpoint, or at its start."""
    folder = config.folder
    if (folder / LINK).exists():
        from stepgym.trainers.huggingface import load_saved

        check_device(config.device)
        return load_saved(folder / LINK, config.device)
    if (folder / FILE).exists():
        check_device(config.device)
        return load_bundled(folder / FILE, config.device)
    return Saved(first_backbone(config), RunState())


def huggingface_place(start: Path) -> str | None:
    """What transformers calls the model at `start`: its folder, or its name on the hub; None for one of ours."""
    if str(start).startswith(HUB):
        return str(start).removeprefix(HUB)
    if (start / LINK).exists():  # the folder of a run
        return str((start / LINK).resolve())
    try:
        described = json.loads((start / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return str(start) if isinstance(described, dict) and "model_type" in described else None


def check_device(device: str) -> None:
    """Raises `ConfigError` for one that torch cannot use."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch's words for a device that is not there
        raise ConfigError(f"device {device!r} cannot be used: {str(error).splitlines()[0]}") from error
