"""`stepgym validate` and `stepgym rollout`, as commands."""

import json
from pathlib import Path
from typing import Any

import pytest

from stepgym.cli import main
from stepgym.errors import TaskError
from stepgym.evals.validation import Kind, validate_tasks, wrong_answer
from stepgym.records import Attempt, Score, Status, Task
from stepgym.rewards import REWARDS
from stepgym.trajectories import read_trajectories


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[Any, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    said = capsys.readouterr()
    return ended.value.code, said.out, said.err


def test_sound_tasks_pass(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "validate", "arithmetic")
    assert code == 0
    assert out == "64 gold answers accepted, 64 wrong ones rejected by 'math'\n"


def test_rows_that_fail_are_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = [
        Task(id="sound", prompt="p", answer="4"),
        Task(id="crooked", prompt="p", answer="4", steps=("2+3", r"\boxed{5}")),
    ]
    path = tmp_path / "tasks.jsonl"
    path.write_text("".join(row.to_json() + "\n" for row in rows))
    code, out, err = run(capsys, "validate", path)
    assert code == 2
    assert out.startswith(r"crooked: gold rejected: '2+3\n\\boxed{5}' (")
    assert "1 of 2 tasks" in err
    code, out, _ = run(capsys, "validate", path, "--json")
    assert [json.loads(line)["task"] for line in out.splitlines()] == ["crooked"]


def test_every_kind_of_flaw_is_found() -> None:
    class Moody:
        def __call__(self, attempt: Attempt) -> Score:
            if attempt.task.id == "broken":
                return Score.ungraded("out of time", Status.TIMEOUT)
            right = attempt.task.id == "lenient" or (attempt.task.id == "sound" and "4" in attempt.text)
            return Score(float(right), why="mood", status=Status.CORRECT if right else Status.WRONG)

        def check_task(self, task: Task) -> None:
            if task.id == "unreadable":
                raise TaskError("what is this?")

    names = ("sound", "lenient", "strict", "broken", "unreadable")
    tasks = [Task(id=name, prompt="p", answer="4") for name in names] + [Task(id="none", prompt="p")]
    found = {flaws[0].task: [flaw.kind for flaw in flaws] for flaws in validate_tasks(tasks, Moody()) if flaws}
    assert found == {
        "lenient": [Kind.WRONG_ACCEPTED],
        "strict": [Kind.GOLD_REJECTED],
        "broken": [Kind.UNGRADED, Kind.UNGRADED],
        "unreadable": [Kind.UNREADABLE],
    }


@pytest.mark.parametrize(
    ("gold", "wrong"),
    [
        ("27", "37"),
        ("9", "5"),
        (r"\frac{1}{2}", r"\frac{2}{2}"),
        ("x+y", "x-y"),
        ("-x", "+x"),
        (r"x \le y", r"x \ge y"),
        ("x", "x+1"),
        (r"\text{Evelyn}", "none of these"),
    ],
)
def test_wrong_answers_are_wrong(gold: str, wrong: str) -> None:
    assert wrong_answer(gold) == wrong


def test_a_rollout_is_stored_and_resumed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ("rollout", "stepgym/Math-v0", "--policy", "gold", "--limit", 3, "--samples", 2, "--out", tmp_path)
    code, out, err = run(capsys, *words)
    assert code == 0, err
    assert out.splitlines()[0] == "6 episodes of stepgym/Math-v0, 6 graded, 0 failed"
    assert "mean reward 1.0000" in out
    assert out.splitlines()[-1] == str(tmp_path / "trajectories.jsonl")
    lines = list(read_trajectories(tmp_path / "trajectories.jsonl"))
    assert {line.trajectory.env for line in lines} == {"stepgym/Math-v0"}
    assert sorted({line.sample for line in lines}) == [0, 1]
    assert run(capsys, *words)[0] == 0
    assert len(list(read_trajectories(tmp_path / "trajectories.jsonl"))) == 6


def test_a_rollout_with_bad_settings(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = run(capsys, "rollout", "stepgym/Meth-v0", "--policy", "gold", "--out", tmp_path)
    assert code == 2
    assert "did you mean 'stepgym/Math-v0'?" in err
    code, _, err = run(capsys, "rollout", "Nope-v0", "--policy", "gold", "--out", tmp_path)
    assert code == 2
    assert "Nope-v0 cannot be made" in err
    code, _, err = run(capsys, "rollout", "stepgym/Math-v0", "--policy", "gold", "--max-steps", 0, "--out", tmp_path)
    assert (code, err) == (2, "stepgym: max_steps must be at least 1, got 0\n")
    for name in ("samples", "concurrency"):
        code, _, err = run(capsys, "rollout", "stepgym/Math-v0", "--policy", "gold", f"--{name}", 0, "--out", tmp_path)
        assert code == 2
        assert f"stepgym: {name} must be at least 1, got 0" in err


@pytest.mark.parametrize("name", ["aime24", "amc23", "gsm8k"])
def test_benchmarks_are_sound(data_dir: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from stepgym.tasks import load

    monkeypatch.setenv("STEPGYM_DATA", str(data_dir))
    tasks = load(name, limit=60)
    flaws = [flaw for found in validate_tasks(tasks, REWARDS.make("math")) for flaw in found]
    assert flaws == []
