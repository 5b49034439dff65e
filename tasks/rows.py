"""Rows of task files: JSONL, JSON and Parquet, read one at a time, each knowing where it stands.

A recorded run (.traj, .traj.json) is one row, and a folder of them one row a run; so is a task's folder (`swe_folder`).

Files come from anywhere, so a line may not exceed `MAX_LINE` and a JSON file `MAX_FILE`. Numbers with a decimal point
come as `decimal.Decimal`: a gold answer ``0.1`` stays ``0.1``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, DecimalException
from itertools import chain
from pathlib import Path
from typing import Any

from stepgym.errors import MissingDependencyError, TaskError

MAX_LINE = 16 * 2**20
"""Longest line of a JSONL file, in bytes."""
MAX_FILE = 256 * 2**20
"""Largest JSON file, in bytes; it is held in memory whole, which JSONL is not."""
SUFFIXES = (".jsonl", ".json", ".parquet", ".traj")
RUNS = (".traj", ".traj.json")
"""The ends of the names of recorded runs."""
LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a task file or data set."""

    where: str
    """The place for error messages: ``aime24.jsonl:3``."""
    values: Mapping[str, Any]
    """Column to value."""


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file. Raises `TaskError` naming the file and the line for whatever cannot be read."""
    readers = {".jsonl": _read_jsonl, ".json": _read_json, ".parquet": _read_parquet, ".traj": _read_json}
    if path.is_dir():
        from stepgym.tasks.swe_folder import read_folders, task_folders

        if task_folders(path):
            yield from read_folders(path)
        else:
            yield from (row for file in runs_in(path) for row in read_rows(file))
        return
    if path.exists() and not path.is_file():  # a pipe or a device may never end
        raise TaskError(f"{path} is not an ordinary file")
    if path.suffix not in readers:
        raise TaskError(f"{path}: cannot tell the format; expected a name that ends in {', '.join(SUFFIXES)}")
    try:
        yield from readers[path.suffix](path)
    except OSError as error:
        raise TaskError(f"{path}: cannot be read ({error.strerror or error})") from error


def files_in(folder: Path) -> list[Path]:
    """The files that the rows of a folder come from. Raises `TaskError` if there is none."""
    from stepgym.tasks.swe_folder import task_folders

    tasks = task_folders(folder)
    return [file for task in tasks for file in sorted(task.iterdir()) if file.is_file()] or runs_in(folder)


def runs_in(folder: Path) -> list[Path]:
    """The recorded runs in a folder and in the folders right below it, as agents write them, in order.

    Raises `TaskError` if there is none.
    """
    found = chain(folder.glob("*.traj*"), folder.glob("*/*.traj*"))
    files = sorted(file for file in found if file.name.endswith(RUNS) and file.is_file())
    if not files:
        others = ", ".join(suffix for suffix in SUFFIXES if suffix not in RUNS)
        raise TaskError(
            f"{folder} is a folder without recorded runs ({', '.join(RUNS)}) and without tasks of a task repository "
            f"(tasks/*/task.yaml); name a {others} file in it"
        )
    return files


def _read_jsonl(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            where = f"{path}:{number}"
            if len(line) > MAX_LINE:
                raise TaskError(f"{where}: the line is longer than {MAX_LINE // 2**20} MiB, the most that is read")
            if line.strip():
                yield _row(where, _parse(where, line))


def _read_json(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        content = file.read(MAX_FILE + 1)
    if len(content) > MAX_FILE:
        raise TaskError(
            f"{path}: larger than {MAX_FILE // 2**20} MiB; make it a .jsonl file, which is read line by line"
        )
    try:
        rows = _parse(str(path), content)
    except TaskError as error:
        if "Extra data: line 2" in str(error):
            raise TaskError(f"{path}: holds one row a line; give it a name that ends in .jsonl") from error
        raise
    if path.name.endswith(RUNS):
        yield _row(str(path), rows)
        return
    if isinstance(rows, dict):
        lists = [value for value in rows.values() if isinstance(value, list)]
        rows = lists[0] if len(lists) == 1 else None
    if not isinstance(rows, list):
        raise TaskError(f"{path}: expected a list of rows, or an object with one list in it")
    for index, row in enumerate(rows):
        yield _row(f"{path}[{index}]", row)


def _read_parquet(path: Path) -> Iterator[Row]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise MissingDependencyError(f"{path}: reading Parquet needs pyarrow: pip install 'stepgym[data]'") from error
    try:
        with ParquetFile(path) as file:
            index = 0
            for batch in file.iter_batches(batch_size=256):
                for row in batch.to_pylist():
                    yield Row(f"{path}[{index}]", row)
                    index += 1
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        why = " ".join(str(error).split())
        raise TaskError(f"{path}: not a readable Parquet file ({why})") from error


def _parse(where: str, text: bytes) -> Any:
    try:
        value = json.loads(text, parse_float=Decimal, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else error
        raise TaskError(f"{where}: not JSON ({why})") from error
    except DecimalException as error:
        raise TaskError(f"{where}: a number with too large an exponent") from error
    if b"\\u" in text and LONE_SURROGATE.search(json.dumps(value, ensure_ascii=False, default=str)):
        raise TaskError(f"{where}: not text (half of a surrogate pair, written as \\ud800 to \\udfff)")
    return value


def _row(where: str, value: Any) -> Row:
    if not isinstance(value, dict):
        raise TaskError(f"{where}: expected an object with named fields, got {type(value).__name__}")
    return Row(where, value)
