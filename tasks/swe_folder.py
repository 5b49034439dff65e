"""Task repositories of swebench 5: one folder a task, below ``tasks/``, read as rows.

    tasks/<id>/  task.yaml  tests.json  problem_statement.md  hints.md  gold.patch  test.patch  eval.sh  Dockerfile

All but ``hints.md`` and ``Dockerfile`` must be there. Of assets, which are binary files, nothing is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stepgym.errors import MissingDependencyError, TaskError
from stepgym.tasks.rows import Row

TASK, TESTS = "task.yaml", "tests.json"
NEEDED = {
    "patch": "gold.patch",
    "test_patch": "test.patch",
    "eval_script": "eval.sh",
    "problem_statement": "problem_statement.md",
}
OPTIONAL = {"hints_text": "hints.md", "dockerfile": "Dockerfile"}
LARGEST = 32 << 20
"""Bytes of one of these files; a larger one is refused."""


def task_folders(folder: Path) -> list[Path]:
    """The tasks' folders in a task repository, or the folder itself if it is one; [] for any other folder."""
    if (folder / TASK).is_file():
        return [folder]
    return sorted(file.parent for place in (folder, folder / "tasks") for file in place.glob(f"*/{TASK}"))


def folder_row(folder: Path) -> Row:
    """The row of a task's folder, in swebench 5's schema. Raises `TaskError` naming the file that is amiss."""
    values = {**_yaml(folder / TASK), **_tests(folder / TESTS)}
    if values.setdefault("instance_id", folder.name) != folder.name:
        raise TaskError(f"{folder / TASK}: instance_id is {values['instance_id']!r}, but the folder {folder.name!r}")
    values |= {column: _text(folder / name) for column, name in NEEDED.items()}
    values |= {column: _text(folder / name) for column, name in OPTIONAL.items() if (folder / name).is_file()}
    return Row(str(folder), values)


def read_folders(folder: Path) -> Iterator[Row]:
    """The rows of a task repository, in the order of their names. Raises `TaskError`."""
    return map(folder_row, task_folders(folder))


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise TaskError(f"{path}: cannot be read ({error.strerror})") from error
    if len(content) > LARGEST:
        raise TaskError(f"{path}: larger than {LARGEST >> 20} MiB")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise TaskError(f"{path}: not UTF-8 ({error})") from error


def _tests(path: Path) -> dict[str, Any]:
    try:
        tests = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise TaskError(f"{path}: not JSON ({error})") from error
    if not isinstance(tests, dict):
        raise TaskError(f"{path}: expected an object with FAIL_TO_PASS and PASS_TO_PASS")
    return tests


def _yaml(path: Path) -> dict[str, Any]:
    text = _text(path)
    try:
        import yaml  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise MissingDependencyError(f"{path}: reading YAML needs PyYAML: pip install 'stepgym[data]'") from error
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise TaskError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(values, dict):
        raise TaskError(f"{path}: expected fields such as repo and image")
    # YAML takes 3.10 for a number
    return {str(key): str(value) if key in ("version", "base_commit") else value for key, value in values.items()}
