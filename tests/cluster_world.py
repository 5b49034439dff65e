"""A small world for the cluster's tests: problems, and a HuggingFace model that help makes better at them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from stepgym.records import Task
from stepgym.trainers import TrainConfig, train
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
    asked = [
        Task(
            id=f"{i}",
            prompt=f"{i}+1=",
            answer=f"{i + 1}",
            hint=f"1. {i + 1}",
            subquestions=(f"{i + 1}",),
            steps=(f"\\boxed{{{i + 1}}}", "."),
        )
        for i in range(9)
    ]
    shown = [
        replace(task, id=f"{task.id}/{kind}/{said}", prompt=prompt, steps=(step,))
        for task in asked
        for said in ("0", task.answer)
        for kind, prompt, step in (
            ("plain", task.prompt, f"\\boxed{{{said}}}"),
            ("wrong", task.prompt, "\\boxed{0}"),
            ("helped", f"{task.prompt}|1. {task.answer}\n", f"\\boxed{{{said}}}"),
            ("decomposed", f"D{task.prompt}", f"<subquestion>{said}"),
        )
    ]
    for name, tasks in (("asked", asked), ("shown", shown)):
        (folder / f"{name}.jsonl").write_text("".join(task.to_json() + "\n" for task in tasks))
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
