"""Sources: names, files of every format, foreign columns, and gold answers."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stepgym.errors import StepgymError
from stepgym.records import Task
from stepgym.tasks import FAMILIES, Fields, load, names
from stepgym.tasks.fields import USUAL
from stepgym.tasks.gold import boxes


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


# ------------------------------------------------------------------------------------------------ our own format


@pytest.mark.parametrize("source", ["worked", *FAMILIES])
def test_exported_tasks_load_back_identically(source: str, tmp_path: Path) -> None:
    tasks = load(source)
    path = write(tmp_path / "out.jsonl", *(task.to_json() for task in tasks))
    assert load(path) == load(str(path)) == tasks
    assert load(path, limit=3) == tasks[:3]


def test_a_task_meant_to_have_no_answer_survives_the_trip(tmp_path: Path) -> None:
    path = write(tmp_path / "proofs.jsonl", {"problem": "Prove it.", "solution": "Trivial.", "weight": 0.5})
    tasks = load(path, answerless=True)
    assert tasks[0].answer == ""
    assert load(write(tmp_path / "out.jsonl", *(task.to_json() for task in tasks))) == tasks


def test_worked_problems_are_complete() -> None:
    tasks = load("worked")
    assert len(tasks) >= 20
    assert len({task.meta["form"] for task in tasks}) >= 10
    assert {task.meta["subject"] for task in tasks} == {"algebra", "number theory", "geometry", "counting", "calculus"}
    for task in tasks:
        assert boxes(task.steps[-1]) == [task.answer]
        assert not boxes("".join((*task.steps[:-1], task.hint, *task.subquestions)))
        assert task.hint
        assert len(task.subquestions) >= 2


# ------------------------------------------------------------------------------------------------ foreign files


@pytest.mark.parametrize(
    ("row", "prompt", "answer"),
    [
        ({"question": "Q", "answer": 5}, "Q", "5"),
        ({"problem": " Q\n", "answer": "$5$"}, "Q", "5"),
        ({"prompt": "Q", "final_answer": ["$1$,$2$"], "is_multiple_answer": True}, "Q", "1, 2"),
        ({"input": "Q", "target": "x", "answer": None}, "Q", "x"),
        ({"problem": "Q", "solution": r"so \boxed{\frac{1}{2}} or rather \boxed{\{1\}}."}, "Q", r"\{1\}"),
        ({"problem": "Q", "answer": "", "solution": r"\boxed{7}"}, "Q", "7"),
        ({"question": "Q", "answer": "2 * 3 = <<2*3=6>>6\n#### 1,006"}, "Q", "1006"),
        ({"context": "Let $a = 1$.", "question": "What is $a$?", "answer": 1}, "Let $a = 1$.\n\nWhat is $a$?", "1"),
        ({"prompt": [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}], "answer": 1}, "Q", "1"),
        ({"prompt": "Q", "reward_model": {"ground_truth": "34"}}, "Q", "34"),
        ({"question": "Q", "answer": True}, "Q", "True"),
    ],
)
def test_usual_columns_are_found(row: dict[str, Any], prompt: str, answer: str, tmp_path: Path) -> None:
    (task,) = load(write(tmp_path / "set.jsonl", row))
    assert (task.id, task.prompt, task.answer) == ("set/0", prompt, answer)


def test_every_field_has_usual_names() -> None:
    assert set(USUAL) == {field.name for field in dataclasses.fields(Fields)}


def test_columns_named_by_hand_win_and_the_rest_is_kept(tmp_path: Path) -> None:
    path = write(
        tmp_path / "set.jsonl", {"problem": "no", "text": "Q", "key": {"a": "1/2"}, "n": 7, "topic": "t", "x": None}
    )
    (task,) = load(path, fields=Fields(prompt="text", answer="key.a", id="n"))
    assert task == Task(id="set/7", prompt="Q", answer="1/2", meta={"problem": "no", "key": {"a": "1/2"}, "topic": "t"})


def test_numbers_stay_exact(tmp_path: Path) -> None:
    literals = "27.0 0.1 3.14159265358979323846264338327950288 1e-7 4.5e33 12345678901234567890 -0.50 2.50"
    path = write(tmp_path / "set.jsonl", *(f'{{"problem": "Q", "answer": {number}}}' for number in literals.split()))
    expected = [
        "27",
        "0.1",
        "3.14159265358979323846264338327950288",
        "0.0000001",
        "4.5e33",
        "12345678901234567890",
        "-0.5",
        "2.5",
    ]
    assert [task.answer for task in load(path)] == expected


def test_all_formats_give_the_same_tasks(tmp_path: Path) -> None:
    import pyarrow as arrow
    from pyarrow import parquet

    rows = [
        {"id": i, "problem": f"What is {i}/8?", "answer": i / 8, "steps": ["Think.", f"\\boxed{{{i / 8}}}"]}
        for i in range(700)
    ]
    jsonl = load(write(tmp_path / "set.jsonl", *rows))
    (tmp_path / "set.json").write_text(json.dumps(rows))
    (tmp_path / "wrapped").mkdir()
    (tmp_path / "wrapped" / "set.json").write_text(json.dumps({"version": 1, "rows": rows}))
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "set.parquet", row_group_size=100)
    assert len(jsonl) == 700
    assert [task.answer for task in jsonl[:9]] == ["0", "0.125", "0.25", "0.375", "0.5", "0.625", "0.75", "0.875", "1"]
    assert load(tmp_path / "set.json") == load(tmp_path / "wrapped/set.json") == load(tmp_path / "set.parquet") == jsonl


def test_gsm8k_lines_become_steps_and_socratic_questions_sub_questions(tmp_path: Path) -> None:
    lines = ["How many? ** He has 2*3=<<2*3=6>>6 eggs", "", "So? ** ", "How much? ** 6*$200=$<<6*200=1200>>1,200"]
    (task,) = load(write(tmp_path / "set.jsonl", {"question": "Q", "answer": "\n".join([*lines, "#### 1,200"])}))
    assert task.steps == ("He has 2*3=6 eggs", "6*$200=$1,200. The answer is \\boxed{1200}.")
    assert task.subquestions == ("How many?", "How much?")


def test_numbered_titled_solutions_become_steps(tmp_path: Path) -> None:
    solution = (
        "We begin.\n1. **Factor**: $x$\n   1. not a step\n2.  **Solve** *it*\n3. **unclosed\n4. plain\n\\boxed{3}\n"
    )
    (task,) = load(write(tmp_path / "set.jsonl", {"problem": "Q", "solution": solution}))
    assert task.steps == (
        "1. **Factor**: $x$\n   1. not a step",
        "2.  **Solve** *it*\n3. **unclosed\n4. plain\n\\boxed{3}",
    )
    (single,) = load(write(tmp_path / "one.jsonl", {"problem": "Q", "solution": "1. **Only**: \\boxed{3}"}))
    assert single.steps == ()


def test_blank_lines_and_a_missing_last_newline_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text('\n{"problem": "A", "answer": 1}\n\n{"problem": "B", "answer": 2}')
    assert [task.prompt for task in load(path)] == ["A", "B"]


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "set.jsonl", {"problem": "A", "answer": 1})
    first = load(path)
    assert load(path) is first
    write(path, {"problem": "A", "answer": 12})
    assert load(path)[0].answer == "12"


def test_a_data_folder_may_hold_the_files_directly_and_in_any_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPGYM_DATA", str(tmp_path))
    (tmp_path / "aime24.json").write_text('[{"problem": "Q", "answer": "025"}]')
    assert load("aime24")[0] == Task(id="aime24/0", prompt="Q", answer="25")


def test_data_sets_come_through_the_hub_library(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", {"problem": "Q", "answer": 27.0, "key": "n"}, {"problem": "R", "answer": 3.5})
    code = f"from stepgym.tasks import load; print([task.answer for task in load('hf:{tmp_path}?split=train')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "['27', '3.5']"
    for source, message in (("?split=test", "cannot get .*split test"), ("?splt=test", "did you mean 'split'")):
        with pytest.raises(StepgymError, match=message):
            load(f"hf:{tmp_path}{source}")


def test_everything_has_a_name() -> None:
    assert {"worked", "arithmetic", "aime24", "gsm8k", "s1k", "math500"} <= set(names())
    assert names() == sorted(names())


def test_loading_imports_nothing_heavy() -> None:
    heavy = ["torch", "gymnasium", "sympy", "pydantic", "docker", "datasets", "pyarrow", "numpy", "tyro"]
    code = f"import sys, stepgym.tasks; stepgym.tasks.load('worked'); print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "[]"
