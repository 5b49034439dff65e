"""Records, codec, registry and store."""

from __future__ import annotations

import json
import math
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from stepgym import Reply, Score, Status, Step, Stop, Task, Trajectory, Usage
from stepgym.codec import decode, encode
from stepgym.errors import ConfigError, StepgymError, StoreError, UnknownNameError
from stepgym.registry import Registry
from stepgym.store import JsonLines, read_lines, write_whole

TASK = Task(id="t1", prompt="1+1?", answer="2", steps=("add", "\\boxed{2}"), meta={"level": 3, "tags": ["a"]})


def step(score: Score) -> Step:
    reply = Reply(text="é\ud800", tokens=(1, 2), logprobs=(-0.5, -0.25), usage=Usage(3, 2, 0.5, 0.01))
    return Step(observation="1+1?", reply=reply, score=score)


def test_a_task_survives_json_and_pickle() -> None:
    assert Task.from_json(TASK.to_json()) == TASK
    assert pickle.loads(pickle.dumps(TASK)) == TASK


def test_tasks_are_keys() -> None:
    assert len({TASK, Task.from_json(TASK.to_json()), Task(id="t2", prompt="1+1?")}) == 2


def test_a_task_that_is_not_json_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="task: not JSON"):
        Task.from_json("{")


def test_a_trajectory_survives_json() -> None:
    trajectory = Trajectory(task=TASK, steps=(step(Score(0.5)), step(Score(1.0))), stop=Stop.ANSWERED, env="e")
    again = decode(Trajectory, json.loads(json.dumps(encode(trajectory))))
    assert again == trajectory
    assert again.reward == 1.5
    assert again.usage == Usage(6, 4, 1.0, 0.02)


def test_an_ungraded_score_is_never_a_number() -> None:
    score = Score.ungraded("grader died")
    assert math.isnan(score.value)
    assert not score.graded
    trajectory = Trajectory(task=TASK, steps=(step(Score(1.0)), step(score)), stop=Stop.UNGRADED)
    assert not trajectory.graded
    assert math.isnan(trajectory.reward)
    assert math.isnan(decode(Score, json.loads(json.dumps(encode(score)))).value)
    assert Score(0.0, status=Status.UNPARSABLE).graded


@dataclass(frozen=True)
class Inner:
    size: int = 1
    rate: float | None = None


@dataclass(frozen=True)
class Settings:
    name: str
    inner: Inner = Inner()
    mode: Literal["fast", "slow"] = "fast"
    folder: Path = Path("runs")
    weights: tuple[float, ...] = ()


def test_settings_are_decoded_by_their_types() -> None:
    value = {"name": "x", "inner": {"size": 2, "rate": 1}, "mode": "slow", "folder": "a/b", "weights": [1, 2.5]}
    assert decode(Settings, value) == Settings("x", Inner(2, 1.0), "slow", Path("a/b"), (1.0, 2.5))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "name missing"),
        ({"name": 3}, "settings.name: expected text, got 3"),
        ({"name": "x", "inner": {"size": True}}, "settings.inner.size: expected a whole number, got True"),
        ({"name": "x", "inner": {"siz": 1}}, "did you mean 'size'"),
        ({"name": "x", "mode": "medium"}, "expected one of 'fast', 'slow', got 'medium'"),
        ({"name": "x", "weights": "12"}, "settings.weights: expected a list"),
        ({"name": "x", "weights": [1, "2"]}, r"settings.weights\[1\]: expected a number"),
        ([], "expected a table"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        decode(Settings, value)


def test_a_default_is_written_unless_it_is_empty() -> None:
    assert encode(Settings("x")) == {"name": "x", "inner": {"size": 1}, "mode": "fast", "folder": "runs"}


def test_an_unknown_name_suggests_the_nearest() -> None:
    table: Registry[object] = Registry("env", {"math": "json:dumps", "swe": "json:loads"})
    assert table.make("swe", s="[1]") == [1]
    assert "maths" not in table
    with pytest.raises(UnknownNameError, match="no env named 'maths'; did you mean 'math'"):
        table.load("maths")
    with pytest.raises(LookupError, match="known: math, swe"):
        table.load("zzzzzz")


def test_every_error_has_the_one_base_and_a_reason() -> None:
    from stepgym import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert len(kinds) > 5
    assert all(issubclass(kind, StepgymError) and kind.__doc__ for kind in kinds)
    assert str(UnknownNameError("no such thing")) == "no such thing"


def test_lines_are_appended_and_a_torn_one_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "run" / "lines.jsonl"
    with JsonLines(path) as lines:
        lines.append({"a": 1})
        lines.append(TASK)
    with path.open("ab") as file:
        file.write(b'{"torn": ')
    assert [*read_lines(path)] == [{"a": 1}, encode(TASK)]
    with JsonLines(path) as lines:
        lines.append([3])
    assert [*read_lines(path)] == [{"a": 1}, encode(TASK), [3]]


def test_a_file_that_is_one_torn_line_becomes_empty(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"torn": ' + b"x" * 200_000)
    assert [*read_lines(path)] == []
    with JsonLines(path) as lines:
        lines.append(1)
    assert path.read_bytes() == b"1\n"


def test_damage_inside_a_file_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b"1\noops\n2\n")
    with pytest.raises(StoreError, match=r"lines\.jsonl:2: not JSON"):
        list(read_lines(path))


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    with JsonLines(path), pytest.raises(StoreError, match="being written by another process"):
        JsonLines(path)
    JsonLines(path).close()


def test_what_was_appended_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    code = (
        "import sys, pathlib\nfrom stepgym.store import JsonLines\n"
        "with JsonLines(pathlib.Path(sys.argv[1])) as lines:\n"
        "    for i in range(10**9):\n        lines.append(i)\n        print(i, flush=True)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    last = -1
    started = time.monotonic()
    while last < 50 and time.monotonic() - started < 60:
        last = int(writer.stdout.readline())
    os.kill(writer.pid, signal.SIGKILL)
    rest = writer.stdout.read().splitlines(keepends=True)
    writer.stdout.close()
    writer.wait()
    last = max([last, *(int(line) for line in rest if line.endswith("\n"))])
    kept = [*read_lines(path)]
    assert kept[: last + 1] == list(range(last + 1))
    assert len(kept) <= last + 2


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a" / "report.json"
    write_whole(path, "one")
    write_whole(path, "two")
    assert path.read_text() == "two"
    assert os.listdir(path.parent) == ["report.json"]


@pytest.mark.parametrize("place", ["file/below/x.jsonl", "folder"], ids=["below a file", "a folder"])
def test_what_cannot_be_written_is_named_and_leaves_nothing(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    before = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(StoreError, match=f"{place} cannot be written"):
        write_whole(tmp_path / place, "text")
    with pytest.raises(StoreError, match=f"{place} cannot be written"):
        JsonLines(tmp_path / place)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_a_full_disk_is_named() -> None:
    with JsonLines(Path("/dev/full")) as file, pytest.raises(StoreError, match=r"/dev/full cannot be written .*space"):
        file.append({"a": 1})
