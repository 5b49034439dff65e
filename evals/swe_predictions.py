"""Predictions, as SWE-bench calls patches that were made elsewhere: read, and written so that its harness takes them.

A prediction is ``{"instance_id": …, "model_name_or_path": …, "model_patch": …}``: in a .json file a list of them or a
table by id, in a .jsonl file one a line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepgym.errors import TaskError
from stepgym.registry import unknown
from stepgym.store import write_whole

LARGEST = 2 << 30
"""Bytes of a file of predictions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A patch for a task."""

    task: str
    model: str
    patch: str
    """Empty where the model made none."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """Those of a file, by task."""

    by_task: Mapping[str, Prediction]
    digest: str
    """Of what they say: a run must not go on with others."""

    def unmatched(self, tasks: Iterable[str]) -> list[str]:
        """The ids, in order, that are none of `tasks`."""
        return sorted(self.by_task.keys() - set(tasks))

    def check(self, tasks: Iterable[str]) -> None:
        """Raise `UnknownNameError` for a prediction for none of `tasks`, as the official harness does."""
        names = list(tasks)
        for id in self.unmatched(names):
            raise unknown("task (named by a prediction)", id, names)


def read_predictions(path: Path) -> Predictions:
    """The predictions of a file. Raises `TaskError` naming the place of what is none."""
    try:
        if path.stat().st_size > LARGEST:
            raise TaskError(f"{path}: a file of predictions may have {LARGEST >> 30} GiB")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise TaskError(f"{path}: the predictions cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise TaskError(f"{path}: the predictions are not UTF-8 ({error.reason})") from error
    found: dict[str, Prediction] = {}
    for where, value in _values(path, text):
        prediction = _prediction(where, value)
        if found.setdefault(prediction.task, prediction) != prediction:
            raise TaskError(f"{where}: a second prediction for {prediction.task!r}")
    if not found:
        raise TaskError(f"{path}: there is no prediction in it")
    said = json.dumps([[each.task, each.model, each.patch] for _, each in sorted(found.items())])
    return Predictions(found, hashlib.sha256(said.encode()).hexdigest()[:24])


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """Write a table by id, the form that ``swebench eval -p`` and SWE-agent take. Raises `StoreError`."""
    table = {
        each.task: {"model_name_or_path": each.model, "instance_id": each.task, "model_patch": each.patch}
        for each in predictions
    }
    write_whole(path, json.dumps(table, indent=2) + "\n")


def _values(path: Path, text: str) -> Iterable[tuple[str, Any]]:
    if path.suffix == ".jsonl":
        lines = enumerate(text.split("\n"), start=1)
        return [(f"{path}:{number}", _json(f"{path}:{number}", line)) for number, line in lines if line.strip()]
    if path.suffix != ".json":
        raise TaskError(f"{path}: predictions are in a .json or a .jsonl file")
    whole = _json(str(path), text)
    if isinstance(whole, Mapping):
        return [
            (f"{path}: {id}", {"instance_id": id, **value} if isinstance(value, Mapping) else value)
            for id, value in whole.items()
        ]
    if isinstance(whole, list):
        return [(f"{path}: entry {number}", value) for number, value in enumerate(whole, start=1)]
    raise TaskError(f"{path}: predictions are a list, or a table by id")


def _json(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TaskError(f"{where}: not JSON ({error})") from error


def _prediction(where: str, value: Any) -> Prediction:
    if not isinstance(value, Mapping):
        raise TaskError(f"{where}: a prediction is a table, not {type(value).__name__}")
    id, model, patch = (value.get(name) for name in ("instance_id", "model_name_or_path", "model_patch"))
    if not isinstance(id, str) or not id:
        raise TaskError(f"{where}: no instance_id")
    if not isinstance(patch, str | None) or "model_patch" not in value:
        raise TaskError(f"{where}: model_patch must be text, or null where the model made none")
    return Prediction(task=id, model=model if isinstance(model, str) else "", patch=patch or "")
