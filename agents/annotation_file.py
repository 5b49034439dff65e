"""The file that annotated tasks are collected in, and its claim: which work it belongs to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stepgym.agents.making import OPERATIONAL as OPERATIONAL_OF_POLICY
from stepgym.codec import decode, encode
from stepgym.errors import ConfigError, StoreError
from stepgym.records import Task
from stepgym.store import read_lines, replacing, write_whole
from stepgym.tasks.digest import digest

OPERATIONAL = (*OPERATIONAL_OF_POLICY, "concurrency", "patience", "out")
"""Settings that say how, not what: they may change when work goes on."""


class AnnotationFile:
    """A task file, plain JSON lines, with its settings in a file beside it.

    A task that was given up is in it too, and ``meta["hint_rejected"]`` (after the field that stayed empty) says why.
    """

    def __init__(self, path: Path, field: str) -> None:
        """Raises `ConfigError` for a name that could not be loaded as tasks."""
        if path.suffix != ".jsonl":
            raise ConfigError(f"{path}: the name must end in .jsonl, so that it can be loaded as tasks")
        self.path, self.field = path, field
        self.settings = path.with_suffix(".settings.json")

    def check(self, config: Any, tasks: Sequence[Task]) -> None:
        """Raise `StoreError` naming what differs if the file holds the result of other work."""
        if not self.path.exists() or self.path.stat().st_size == 0:
            return
        try:
            stored = json.loads(self.settings.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StoreError(
                f"{self.path} exists, and {self.settings.name}, which would say what it was made from, cannot be read "
                f"({getattr(error, 'strerror', None) or error}); choose another name"
            ) from error
        ours = self._settings(config, tasks)
        stored = stored if isinstance(stored, dict) else {}
        for name in sorted((ours.keys() | stored.keys()) - set(OPERATIONAL)):
            if stored.get(name) != ours.get(name):
                shown = [json.dumps(made.get(name), ensure_ascii=False)[:80] for made in (stored, ours)]
                raise StoreError(
                    f"{self.path} was made with {name} = {shown[0]}, not {shown[1]}; "
                    "use the same settings to go on, or choose another name"
                )

    def claim(self, config: Any, tasks: Sequence[Task]) -> None:
        """`check`, and write the settings if the file is empty. Call it while the file is open for writing."""
        self.check(config, tasks)
        if self.path.stat().st_size == 0:
            settings = self._settings(config, tasks)
            write_whole(self.settings, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")

    def read(self, tasks: Sequence[Task]) -> dict[str, Task]:
        """What is finished, by id. Raises `StoreError` for a line that is none of `tasks`."""
        known = {task.id for task in tasks}
        finished: dict[str, Task] = {}
        for number, line in enumerate(read_lines(self.path), start=1):
            try:
                task = decode(Task, line)
            except ConfigError as error:
                raise StoreError(f"{self.path}:{number}: {error}; move the file away to start again") from error
            if task.id not in known:
                raise StoreError(f"{self.path}:{number}: {task.id!r} is no task of the source")
            finished[task.id] = task
        return finished

    def marked(self, task: Task, why: str) -> Task:
        """`task` with the reason why it was given up; "" takes an earlier one away."""
        meta = {key: value for key, value in task.meta.items() if key != self._mark}
        return replace(task, meta=meta | {self._mark: why} if why else meta)

    def rejection(self, task: Task) -> str:
        """Why `task` was given up, or ""."""
        why = task.meta.get(self._mark, "")
        return why if isinstance(why, str) else ""

    def sort(self, tasks: Sequence[Task], done: Mapping[str, Task]) -> None:
        """Replace the file by what is done of `tasks`, in their order."""
        lines = "".join(f"{done[task.id].to_json()}\n" for task in tasks if task.id in done)
        with replacing(self.path) as partial:
            partial.write_bytes(lines.encode("utf-8", "surrogatepass"))

    @property
    def _mark(self) -> str:
        return f"{self.field}_rejected"

    def _settings(self, config: Any, tasks: Sequence[Task]) -> dict[str, Any]:
        return {"field": self.field, **encode(config), "task_count": len(tasks), "tasks_digest": digest(tasks)}
