"""What is said about task sources that cannot be used: one clear sentence, with the file and the line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from stepgym.errors import ConfigError, MissingDependencyError, StepgymError, TaskError, UnknownNameError
from stepgym.records import Task
from stepgym.tasks import Fields, load
from stepgym.tasks.rows import MAX_LINE


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


GOOD = {"problem": "Q", "answer": 1}
BAD_ROWS: list[tuple[str, tuple[Any, ...], str]] = [
    ("torn", (GOOD, '{"problem": "Q", "ans'), "set.jsonl:2: not JSON"),
    (
        "endless exponent",
        (GOOD, '{"problem": "Q", "answer": 1e9999999999999999999}'),
        "set.jsonl:2: a number with too",
    ),
    ("not an object", (GOOD, "", "[1, 2]"), "set.jsonl:3: expected an object with named fields, got list"),
    ("no answer", (GOOD, {"problem": "Q"}), r"set.jsonl:2: no gold answer.*one of: problem;.*--fields.answer"),
    ("unclosed box", ({"problem": "Q", "solution": "\\boxed{1"},), "set.jsonl:1: no gold answer"),
    ("own format, no answer", ({"id": "a", "prompt": "Q"},), "set.jsonl:1: the task has no answer"),
    ("own format, empty problem", ({"id": "a", "prompt": " ", "answer": "1"},), "set.jsonl:1: the problem is empty"),
    (
        "own format, wrong type",
        ({"id": "a", "prompt": "Q", "answer": "1", "steps": "s"},),
        r"set.jsonl:1: task.steps: expected",
    ),
    ("no problem", ({"text": "Q", "answer": "1"},), r"set.jsonl:1: no problem.*fields.prompt.*text, answer"),
    ("empty problem", ({"problem": "  ", "answer": "1"},), r"set.jsonl:1: the problem \(problem\) is empty"),
    ("problem not text", ({"problem": 5, "answer": "1"},), "jsonl:1: problem must be text, not int"),
    ("steps not texts", ({**GOOD, "steps": [1]},), "set.jsonl:1: steps must be a list of texts"),
    ("id not a name", ({**GOOD, "id": [1]},), "set.jsonl:1: id must be text or a whole number.*not list"),
    (
        "id twice",
        ({**GOOD, "id": 7}, GOOD, {**GOOD, "id": 7}),
        r"set.jsonl:3: the id 'set/7' is taken by .*set.jsonl:1",
    ),
    ("deep", ("[" * 200_000,), "set.jsonl:1: not JSON"),
    ("half a character", ('{"problem": "\\ud800", "answer": 1}',), "set.jsonl:1: not text"),
    ("nothing", (), "there is no task"),
]


@pytest.mark.parametrize(("rows", "message"), [case[1:] for case in BAD_ROWS], ids=[case[0] for case in BAD_ROWS])
def test_a_bad_row_is_named_by_file_and_line(rows: tuple[Any, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=message) as caught:
        load(write(tmp_path / "set.jsonl", *rows))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


def test_bytes_that_are_not_text_are_named_by_line(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_bytes(b'{"problem": "A", "answer": 1}\n{"problem": "\xff\xfe", "answer": 1}\n')
    with pytest.raises(TaskError, match=r"set\.jsonl:2: not JSON"):
        load(path)


def test_an_endless_line_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    with path.open("wb") as file:
        file.truncate(8 * 2**30)  # sparse: one line of 8 GiB
    with pytest.raises(TaskError, match=rf"set\.jsonl:1: the line is longer than {MAX_LINE // 2**20} MiB"):
        load(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("set.json", "{", "not JSON"),
        ("set.json", '{"a": 1}', "expected a list of rows"),
        (
            "set.json",
            '{"problem": "Q", "answer": 1}\n{"problem": "R", "answer": 2}\n',
            r"one row a line; give it a name that ends in \.jsonl",
        ),
        ("set.json", '[{"problem": "Q"}]', r"set.json\[0\]: no gold answer"),
        ("set.parquet", "not parquet", "not a readable Parquet file"),
        ("set.csv", "a,b", r"cannot tell the format; expected a name that ends in \.jsonl, \.json, \.parquet"),
    ],
)
def test_a_bad_file_is_named(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(TaskError, match=message):
        load(tmp_path / name)


def test_folders_and_missing_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "set.jsonl").mkdir()
    for path in (tmp_path, tmp_path / "set.jsonl"):
        with pytest.raises(TaskError, match="is a folder"):
            load(path)
    with pytest.raises(TaskError, match=r"none\.jsonl: cannot be read \(No such file"):
        load(str(tmp_path / "none.jsonl"))


def test_a_column_that_is_not_there_suggests_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path / "set.jsonl", {"problem": "Q", "answer": 1})
    with pytest.raises(TaskError, match=r"set\.jsonl:1: no column named 'problm'; did you mean 'problem'"):
        load(path, fields=Fields(prompt="problm"))


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'aime24'"):
        load("amie24")
    with pytest.raises(UnknownNameError, match="did you mean 'gsm8k'"):
        load("gsm8")


def test_tasks_given_as_tasks_are_checked() -> None:
    task = Task(id="a", prompt="Q", answer="1")
    assert load([task]) == (task,)
    for tasks, message in (
        ([task, task], r"tasks\[1\]: the id 'a' is taken"),
        ([Task(id="", prompt="Q")], r"tasks\[0\] has an empty id"),
        ([Task(id="a", prompt=" ")], r"tasks\[0\] has an empty prompt"),
        (["a"], r"tasks\[0\] is a str, not a Task"),
    ):
        with pytest.raises(TaskError, match=message):
            load(tasks)
    with pytest.raises(ConfigError, match="limit must not be negative"):
        load("worked", limit=-1)


def test_a_benchmark_that_is_not_here_names_both_remedies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in (("STEPGYM_DATA", tmp_path), ("HF_HUB_OFFLINE", 1), ("HF_HOME", tmp_path / "hub")):
        monkeypatch.setenv(variable, str(value))
    with pytest.raises(StepgymError, match=r"aime24\.jsonl.*STEPGYM_DATA.*hub") as caught:
        load("aime24")
    assert isinstance(caught.value, TaskError | MissingDependencyError)


@pytest.mark.parametrize("source", [None, 5, {"a": 1}, Task(id="a", prompt="Q", answer="1"), iter(())])
def test_a_source_that_is_none(source: Any) -> None:
    with pytest.raises(ConfigError, match=f"a sequence of Task, not as {type(source).__name__}"):
        load(source)


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"set\.jsonl: there is no task in it"):
        load(write(tmp_path / "set.jsonl"))


def test_parquet_with_text_that_is_none(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow.parquet import write_table

    offsets = pyarrow.py_buffer((0).to_bytes(4, "little") + (2).to_bytes(4, "little"))
    problems = pyarrow.StringArray.from_buffers(1, offsets, pyarrow.py_buffer(b"\xff\xfe"))
    write_table(pyarrow.table({"problem": problems, "answer": ["2"]}), tmp_path / "set.parquet")
    with pytest.raises(TaskError, match=r"set\.parquet: not a readable Parquet file .*utf-8"):
        load(tmp_path / "set.parquet")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "set.jsonl")
    with pytest.raises(TaskError, match="not an ordinary file"):
        load(tmp_path / "set.jsonl")
