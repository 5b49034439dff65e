"""The benchmark files as named sets: row counts, gold answers and steps, against the files read by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepgym.records import Task
from stepgym.tasks import load
from stepgym.tasks.gold import boxes
from stepgym.tasks.sets import SETS

ROWS = {
    "aime24": 30,
    "aime25": 30,
    "amc23": 40,
    "gsm8k": 1319,
    "gsm8k_socratic": 1319,
    "gsm8k_train": 7473,
    "math500": 500,
    "minerva_math": 272,
    "olympiadbench": 675,
    "s1k": 1000,
}


def rows(data_dir: Path, name: str) -> list[dict[str, Any]]:
    with (data_dir / "math" / f"{SETS[name].file}.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.mark.parametrize("name", SETS)
def test_every_set_loads_whole_and_comes_back_identically(name: str, data_dir: Path, tmp_path: Path) -> None:
    tasks = load(name)
    assert len(tasks) == len({task.id for task in tasks}) == ROWS[name]
    assert all(task.id.startswith(f"{name}/") for task in tasks)
    assert load(data_dir / "math" / f"{SETS[name].file}.jsonl") == tasks
    copy = tmp_path / "copy.jsonl"
    copy.write_text("".join(f"{task.to_json()}\n" for task in tasks), encoding="utf-8")
    assert load(copy) == tasks


@pytest.mark.parametrize("name", [name for name in SETS if not SETS[name].answerless])
def test_gold_answers_are_bare(name: str, data_dir: Path) -> None:
    for task in load(name):
        assert task.answer.strip() == task.answer
        assert task.answer
        assert not re.search(r"(?<!\\)\$|\\boxed|####", task.answer)


GOLD: dict[str, Callable[[dict[str, Any]], str]] = {
    "aime24": lambda row: str(int(row["answer"])),
    "aime25": lambda row: str(row["answer"]),
    "amc23": lambda row: str(round(row["answer"])),
    "gsm8k": lambda row: row["answer"].split("#### ")[1].replace(",", ""),
    "math500": lambda row: row["answer"],
}


@pytest.mark.parametrize("name", GOLD)
def test_gold_answers_are_the_ones_in_the_file(name: str, data_dir: Path) -> None:
    assert [task.answer for task in load(name)] == [GOLD[name](row) for row in rows(data_dir, name)]


def test_boxed_answers_agree_with_the_answer_column(data_dir: Path) -> None:
    for task in load("math500"):
        assert boxes(task.meta["solution"])[-1] == task.answer


def by_row(name: str) -> dict[str, Task]:
    return {task.id.rpartition("/")[2]: task for task in load(name)}


def test_known_answers(data_dir: Path) -> None:
    minerva, olympiad = by_row("minerva_math"), by_row("olympiadbench")
    assert [minerva[row].answer for row in "015"] == ["1.6", "4.5e33", "np.arcsin(10/13)"]
    expected = {
        "1664": "69, 84",
        "1687": "f(n)=n, g(n)=1",
        "1737": "(6,3), (9,3), (9,5), (54,5)",
        "1970": "(-\\infty, 0) \\cup\\{1\\}",
        "2012": "2500, 7500",
        "2349": "221, 8",
        "2469": "(-\\frac{1}{2}, \\frac{7}{2})",
    }
    assert {row: olympiad[row].answer for row in expected} == expected
    assert by_row("aime24")["67"].answer == "25"


def test_gsm8k_solutions_are_steps_that_end_in_the_answer(data_dir: Path) -> None:
    for name in ("gsm8k", "gsm8k_socratic", "gsm8k_train"):
        for task in load(name):
            assert boxes(task.steps[-1]) == [task.answer]
            assert not re.search("<<|>>|####| \\*\\* ", "".join(task.steps))
            assert len(task.subquestions) == (len(task.steps) if name == "gsm8k_socratic" else 0)
    plain, socratic = load("gsm8k"), load("gsm8k_socratic")
    agree = sum(a.steps == b.steps for a, b in zip(plain, socratic, strict=True))
    assert agree > 1300  # the two files are two annotations of one test set


def test_s1k_steps_answers_and_proofs(data_dir: Path) -> None:
    tasks = load("s1k")
    stepped = [task for task in tasks if task.steps]
    titled = [task for task in stepped if all(re.match(r"\d+\.\s*\*\*", step) for step in task.steps)]
    assert (len(stepped), len(titled)) == (268, 212)
    assert sum(len(task.steps) for task in titled) == 1408
    for task in stepped:
        assert task.meta["solution"].rstrip().endswith(task.steps[-1])
    assert all(bool(task.answer) != bool(task.meta.get("answerless")) for task in tasks)
    assert sum(bool(task.answer) for task in tasks) > 600
    answers = {row: task.answer for row, task in by_row("s1k").items()}
    assert [answers[row] for row in ("0", "1", "2", "7", "95", "327")] == [
        "a^2 + b^2 \\leq 2",
        "128",
        "",
        "181",
        "[7, 8, 9, 70, 80, 90]",
        "C(4)=14",
    ]
