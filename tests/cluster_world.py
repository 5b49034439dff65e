"""A small world for the cluster's tests: problems, and a HuggingFace model that help makes better at them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stepgym.trainers import TrainConfig, train
from tests.help_tasks import write_tasks
from tests.tiny_qwen import make_tiny_qwen


@dataclass(frozen=True, slots=True)
class World:
    """Its files."""

    model: Path
    """Solves one problem in four, and with help every second; decomposes half of them usefully."""
    asked: Path
    """The problems, with hint, sub-question and expert steps."""


def make_world(folder: Path) -> World:
    """Trained by the local engine, in seconds."""
    write_tasks(folder)
    warm = TrainConfig(
        recipe="sft",
        out=folder / "warm",
        start=make_tiny_qwen(folder / "tiny", context=128),
        tasks=(f"{folder}/shown.jsonl",),
        held_out=(f"{folder}/asked.jsonl",),
        settings=("tasks=72", "learning_rate=2e-3"),
        steps=200,
        evaluate_every=200,
        checkpoint_every=200,
        max_tokens=18,
    )
    return World(train(warm).checkpoint, folder / "asked.jsonl")
