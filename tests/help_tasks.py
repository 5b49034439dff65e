"""Sums with every kind of help, and replies to learn from that make a model better with help than without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from stepgym.records import Task


def write_tasks(folder: Path) -> None:
    """``asked.jsonl``, the sums, and ``shown.jsonl``: right one time in four, in two with help, decomposed in two."""
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
