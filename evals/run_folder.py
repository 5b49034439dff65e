"""The folder of a run: what was asked for, what has been played, what came of it.

``config.json`` is written first and says which run the folder belongs to; ``trajectories.jsonl`` grows an episode at a
time and survives a kill at any moment; ``report.json`` is written last, whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepgym.agents.making import OPERATIONAL as OPERATIONAL_OF_POLICY
from stepgym.codec import encode
from stepgym.errors import StoreError
from stepgym.records import Stop, Task
from stepgym.store import write_whole
from stepgym.tasks.digest import digest
from stepgym.trajectories import StoredTrajectory, read_trajectories

OPERATIONAL = (
    *OPERATIONAL_OF_POLICY,
    *("concurrency", "workers", "patience", "out", "rescore", "json", "keep_images", "free_gb"),
)
"""Settings that say how, not what: they may change when a run goes on."""

FINGERPRINTS = ("task_count", "tasks_digest", "predictions_digest")
"""What ``config.json`` holds besides the settings: a run must not go on with other tasks under the same name."""


@dataclass(frozen=True, slots=True)
class Place:
    """What identifies an episode within a run."""

    task: str
    sample: int


class RunFolder:
    """Paths of a run, and the check that a folder belongs to it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def config(self) -> Path:
        """The settings of the run."""
        return self.path / "config.json"

    @property
    def trajectories(self) -> Path:
        """The episodes, in the order in which they were finished."""
        return self.path / "trajectories.jsonl"

    @property
    def report(self) -> Path:
        """The results."""
        return self.path / "report.json"

    def claim(self, config: Any, tasks: Sequence[Task], **fingerprints: str) -> None:
        """Write the settings (a dataclass) into a folder without episodes; one with some must have the same.

        `fingerprints` are of what else a run depends on, under a name in `FINGERPRINTS`.

        Call it while the trajectory file is open for writing: then nobody else claims the folder meanwhile. Raises
        `StoreError` naming the first setting that differs, `OPERATIONAL` ones aside.
        """
        settings = {**encode(config), "task_count": len(tasks), "tasks_digest": digest(tasks), **fingerprints}
        if self.trajectories.stat().st_size == 0:
            write_whole(self.config, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
            return
        stored = self.settings()
        for name in sorted((stored.keys() | settings.keys()) - set(OPERATIONAL)):
            if stored.get(name) != settings.get(name):
                raise StoreError(
                    f"{self.path} holds a run with {name} = {_shown(stored.get(name))}, "
                    f"not {_shown(settings.get(name))}; use the same settings to go on, or choose another folder"
                )

    def settings(self) -> dict[str, Any]:
        """What `claim` wrote. Raises `StoreError` if there is none, or it is damaged."""
        try:
            stored: Any = json.loads(self.config.read_text(encoding="utf-8"))
        except OSError as error:
            raise StoreError(
                f"{self.config} cannot be read ({error.strerror}); is that the folder of a run?"
            ) from error
        except ValueError as error:
            raise StoreError(f"{self.config}: not JSON ({error})") from error
        if not isinstance(stored, dict):
            raise StoreError(f"{self.config}: expected a table")
        return stored

    def task_count(self) -> int:
        """How many tasks the run has. Raises `StoreError`."""
        count = self.settings().get("task_count")
        if not isinstance(count, int):
            raise StoreError(f"{self.config}: task_count is missing; that is not the folder of an evaluation")
        return count

    def read(self, grader: str | None = None) -> dict[Place, StoredTrajectory]:
        """The valid try at every place; a failed episode is there until it has been played again.

        Raises `StoreError` if one was graded by another than `grader`: verdicts of two graders must not be mixed.
        """
        valid: dict[Place, StoredTrajectory] = {}
        for line in read_trajectories(self.trajectories):
            if grader is not None and line.grader != grader:
                raise StoreError(
                    f"{self.trajectories} was graded by {line.grader!r}, not {grader!r}; --rescore grades it again"
                )
            place = Place(line.trajectory.task.id, line.sample)
            if place not in valid or valid[place].trajectory.stop is Stop.ERROR:
                valid[place] = line
        return valid


def default_folder(*words: str) -> Path:
    """``runs/`` and a name made of `words`."""
    return Path("runs") / re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(words)).strip("-.")


def _shown(value: Any) -> str:
    return "the default" if value is None else json.dumps(value, ensure_ascii=False)
