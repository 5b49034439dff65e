"""Rows of software-engineering benchmarks as tasks: real ones, derived scripts, and rows that contradict themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepgym.errors import TaskError
from stepgym.records import Task
from stepgym.tasks import load
from stepgym.tasks.commands import ExportConfig, ShowConfig, export, show
from stepgym.tasks.swe import EvalType, Instance, instance_of
from stepgym.tasks.swe_patch_reading import changes
from stepgym.tasks.swe_scripts import END, START, eval_script, recorded

GOLD = "diff --git a/p/a.py b/p/a.py\n--- a/p/a.py\n+++ b/p/a.py\n@@ -1 +1 @@\n-x = 1\n+x = 2\n"
TEST = (
    "diff --git a/tests/test_a.py b/tests/test_a.py\n--- a/tests/test_a.py\n+++ b/tests/test_a.py\n@@ -1 +1 @@\n"
    "-1\n+2\n"
    "diff --git a/tests/test_b.py b/tests/test_b.py\nnew file mode 100644\n--- /dev/null\n+++ b/tests/test_b.py\n"
    "@@ -0,0 +1 @@\n+3\n"
)
ROW: dict[str, Any] = {
    "repo": "owner/name",
    "instance_id": "owner__name-1",
    "base_commit": "a" * 40,
    "patch": GOLD,
    "test_patch": TEST,
    "problem_statement": "It is\r\nwrong.",
    "hints_text": "Look at a.",
    "created_at": "2021-10-13T11:35:29Z",
    "version": "1.0",
    "FAIL_TO_PASS": '["tests/test_a.py::test_x"]',
    "PASS_TO_PASS": ["tests/test_a.py::test_y"],
}
V5 = {
    **ROW,
    "image": "swebench/it:latest",
    "eval_script": f"#!/bin/bash\n: '{START}'\nmake check\n: '{END}'\n",
    "log_parser": "parse_log_redis",
    "eval_type": "fail_only",
}


def written(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def one(tmp_path: Path, **changed: Any) -> Task:
    (task,) = load(written(tmp_path / "rows.jsonl", {**ROW, **changed}))
    return task


ROWS = {
    "SWE-bench_Lite-dev.json": 23,
    "SWE-bench_Verified-mixed5.jsonl": 5,
    "swe-bench-dev-easy.json": 4,  # one of its five rows is there twice
    "swegym_mixed_5_with_scripts.jsonl": 5,
    "swegym_moto_5.jsonl": 5,
    "v5_rows.json": 3,
}


@pytest.mark.parametrize("name", ROWS)
def test_every_real_row_loads(name: str, data_dir: Path) -> None:
    path = data_dir / "swe" / "rows" / name
    tasks = load(path)
    assert len(tasks) == ROWS[name]
    text = path.read_text()
    for task in tasks:
        instance = instance_of(task)
        assert task.id in text
        assert task.prompt.strip()
        assert task.answer.startswith("diff --git ")
        assert instance.fail_to_pass
        assert instance.image.endswith(":latest")
        assert instance.log_parser.startswith("parse_log_")
        lines = instance.eval_script.splitlines()
        assert lines.count(f": '{START}'") == lines.count(f": '{END}'") == 1
        assert all(change.path in instance.eval_script for change in changes(instance.test_patch))
        assert Task.from_json(task.to_json()) == task


def test_a_derived_script_runs_what_the_row_of_swebench_5_runs(data_dir: Path, tmp_path: Path) -> None:
    rows = json.loads((data_dir / "swe" / "rows" / "v5_rows.json").read_text())
    older = [
        {k: v for k, v in row.items() if k not in ("image", "eval_script", "log_parser", "eval_type")} for row in rows
    ]
    for own, derived in zip(
        load(data_dir / "swe/rows/v5_rows.json"), load(written(tmp_path / "old.jsonl", *older)), strict=True
    ):
        theirs, ours = instance_of(own), instance_of(derived)
        assert (ours.log_parser, ours.eval_type) == (theirs.log_parser, theirs.eval_type)
        assert ours.image.endswith(theirs.image.replace("__", "_1776_"))
        assert command_of(ours.eval_script) == command_of(theirs.eval_script)
        needed = {line for line in theirs.eval_script.splitlines() if line.startswith(("source", "conda", "python -m"))}
        assert needed <= set(ours.eval_script.splitlines())


def command_of(script: str) -> str:
    return script.partition(f": '{START}'\n")[2].partition(f": '{END}'")[0].strip()


def test_a_row_of_the_2024_schema(tmp_path: Path) -> None:
    task = one(tmp_path)
    instance = instance_of(task)
    assert (task.id, task.prompt, task.answer, task.hint) == ("owner__name-1", "It is\nwrong.", GOLD, "Look at a.")
    assert instance.image == "swebench/sweb.eval.x86_64.owner_1776_name-1:latest"
    assert instance.fail_to_pass == ("tests/test_a.py::test_x",)
    assert instance.pass_to_pass == ("tests/test_a.py::test_y",)
    assert command_of(instance.eval_script) == "pytest -rA tests/test_a.py tests/test_b.py"
    back = [f"git checkout {'a' * 40} -- tests/test_a.py", "rm -f -- tests/test_b.py"]
    assert instance.eval_script.splitlines()[-2:] == back
    assert task.meta["created_at"] == "2021-10-13T11:35:29Z"


def test_a_row_of_swebench_5_says_everything_itself(tmp_path: Path) -> None:
    instance = instance_of(one(tmp_path, **V5))
    assert instance.image == "swebench/it:latest"
    assert instance.eval_script == V5["eval_script"]
    assert instance.log_parser == "parse_log_redis"
    assert instance.eval_type is EvalType.FAIL_ONLY


def test_repositories_run_their_tests_their_way(tmp_path: Path) -> None:
    django = instance_of(one(tmp_path, repo="django/django", version="3.1"))
    assert command_of(django.eval_script).endswith(" --parallel 1 test_a test_b")
    assert django.log_parser == "parse_log_django"
    moto = instance_of(one(tmp_path, repo="getmoto/moto", instance_id="getmoto__moto-7"))
    assert moto.image == "xingyaoww/sweb.eval.x86_64.getmoto_s_moto-7:latest"
    quoted = GOLD.replace("p/a.py", "tests/it's.py")
    assert command_of(instance_of(one(tmp_path, test_patch=quoted)).eval_script) == "pytest -rA 'tests/it'\"'\"'s.py'"


def test_swe_smith_rows_bring_the_bug_and_the_fix_takes_it_back(data_dir: Path, tmp_path: Path) -> None:
    row = json.loads(next((data_dir / "swe" / "trajectories" / "swe_smith").glob("*.task.json")).read_text())
    (task,) = load(written(tmp_path / "smith.jsonl", row))
    instance = instance_of(task)
    assert instance.base_patch.strip() == row["patch"].strip()
    removed = [line[1:] for line in row["patch"].splitlines() if line.startswith("-") and not line.startswith("---")]
    added = [line[1:] for line in task.answer.splitlines() if line.startswith("+") and not line.startswith("+++")]
    assert added == removed
    assert instance.test_patch == ""
    assert instance.image == "swebench/swesmith.x86_64.pandas-dev_1776_pandas.95280573"
    assert command_of(instance.eval_script).startswith("pytest -rA pandas/tests/")
    (unasked,) = load(written(tmp_path / "unasked.jsonl", {**row, "problem_statement": None}))
    assert row["FAIL_TO_PASS"][0] in unasked.prompt


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "a test in both lists": ({"PASS_TO_PASS": ["tests/test_a.py::test_x"]}, "is in FAIL_TO_PASS and in PASS_TO_PASS"),
    "no test to fix": ({"FAIL_TO_PASS": "[]"}, "FAIL_TO_PASS is empty"),
    "tests that are no list": ({"FAIL_TO_PASS": '{"a": 1}'}, "FAIL_TO_PASS must be a list"),
    "tests that are not JSON": ({"FAIL_TO_PASS": "test_a"}, "FAIL_TO_PASS must be a list"),
    "tests that are no names": ({"PASS_TO_PASS": [1]}, "PASS_TO_PASS must be a list"),
    "a test without a name": ({"PASS_TO_PASS": [" "]}, "PASS_TO_PASS must be a list"),
    "no tests": ({"PASS_TO_PASS": None}, "PASS_TO_PASS must be a list"),
    "a gold patch of tests": ({"patch": TEST}, "the gold patch touches only tests"),
    "a gold patch that is none": ({"patch": "x = 2\n"}, "patch cannot be applied: it is not a diff"),
    "no gold patch": ({"patch": " "}, "patch is empty"),
    "a test patch that is none": ({"test_patch": "assert x"}, "test_patch cannot be applied: it is not a diff"),
    "no test patch": ({"test_patch": None}, "no test_patch"),
    "a patch that is no text": ({"patch": ["x"]}, "patch must be text, not list"),
    "no repository": ({"repo": ""}, "repo is empty"),
    "an id that is a path": ({"instance_id": "../../x"}, "instance_id must be of letters"),
    "a commit that is none": ({"base_commit": "main; rm -rf /"}, "base_commit must be a commit's hash"),
    "a script without an image": ({**V5, "image": ""}, "no image, though it has an eval_script"),
    "a script without marks": ({**V5, "eval_script": "pytest"}, "eval_script never prints '>>>>> Start Test Output'"),
    "an unknown kind of log": ({**V5, "eval_type": "all"}, "eval_type is pass_and_fail or fail_only, not 'all'"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_row_that_contradicts_itself_is_named(name: str, tmp_path: Path) -> None:
    changed, said = BROKEN[name]
    path = written(tmp_path / "rows.jsonl", ROW, {**ROW, "instance_id": "owner__name-2", **changed})
    with pytest.raises(TaskError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert said in str(caught.value)


def test_the_other_rows_go_on_where_one_is_broken(tmp_path: Path) -> None:
    rows = [ROW, {**ROW, "instance_id": "b", "FAIL_TO_PASS": []}, {**ROW, "instance_id": "c"}, {**ROW, "version": "2"}]
    path = written(tmp_path / "rows.jsonl", *rows)
    broken: list[TaskError] = []
    assert [task.id for task in load(path, broken=broken.append)] == ["owner__name-1", "c"]
    assert [str(error).split(": ")[0] for error in broken] == [f"{path}:2", f"{path}:4"]
    assert "is taken by" in str(broken[1])


def test_the_same_row_twice_is_one_task(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", ROW, ROW, {**ROW, "instance_id": "b"}, {**ROW, "instance_id": "c"})
    assert [task.id for task in load(path)] == ["owner__name-1", "b", "c"]
    assert [task.id for task in load(path, limit=2)] == ["owner__name-1", "b"]
    with pytest.raises(TaskError, match="is taken by"):
        load(written(tmp_path / "two.jsonl", ROW, {**ROW, "problem_statement": "Another."}))


def repository(folder: Path, **files: str) -> Path:
    texts = {
        "task.yaml": "repo: owner/name\nversion: 3.10\nbase_commit: 1234567\nimage: it:latest\n"
        "log_parser: parse_log_pytest\neval_type: pass_and_fail\nsplit: test\ndatasets: [full]\n",
        "tests.json": json.dumps({"FAIL_TO_PASS": ["t::a"], "PASS_TO_PASS": []}),
        "problem_statement.md": "It is wrong.\n",
        "hints.md": "Look.\n",
        "gold.patch": GOLD,
        "test.patch": TEST,
        "eval.sh": V5["eval_script"],
        "Dockerfile": "FROM debian\n",
        **files,
    }
    for name in ("owner__name-1", "owner__name-2"):
        (folder / "tasks" / name).mkdir(parents=True)
        for file, text in texts.items():
            (folder / "tasks" / name / file).write_text(text)
    return folder


def test_a_task_repository(tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="PyYAML is not installed")
    folder = repository(tmp_path)
    first, second = load(folder)
    assert (first.id, second.id) == ("owner__name-1", "owner__name-2")
    assert load(folder / "tasks" / "owner__name-1") == (first,)
    assert load(folder / "tasks") == (first, second)
    assert instance_of(first) == Instance(
        repo="owner/name",
        base_commit="1234567",
        version="3.1",  # as YAML reads it
        image="it:latest",
        test_patch=TEST,
        eval_script=V5["eval_script"],
        log_parser="parse_log_pytest",
        fail_to_pass=("t::a",),
    )
    assert first.meta["dockerfile"] == "FROM debian\n"
    (folder / "tasks" / "owner__name-1" / "problem_statement.md").write_text("It is very wrong.")
    assert load(folder)[0].prompt == "It is very wrong."


DAMAGE: dict[str, Callable[[Path], object]] = {
    "gold.patch": lambda task: (task / "gold.patch").unlink(),
    "tests.json": lambda task: (task / "tests.json").write_text("[]"),
    "task.yaml": lambda task: (task / "task.yaml").write_text("a: [b"),
    "eval.sh": lambda task: (task / "eval.sh").write_bytes(b"\xff"),
    "task.yaml: instance_id": lambda task: (task / "task.yaml").write_text("instance_id: other"),
}


@pytest.mark.parametrize("said", DAMAGE)
def test_a_damaged_task_repository_names_the_file(said: str, tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="PyYAML is not installed")
    folder = repository(tmp_path)
    DAMAGE[said](folder / "tasks" / "owner__name-2")
    with pytest.raises(TaskError) as caught:
        load(folder)
    assert f"owner__name-2/{said}" in str(caught.value)


def test_commands_take_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "rows.jsonl", ROW)
    show(ShowConfig(source=str(path)))
    assert "== owner__name-1\nIt is\nwrong." in capsys.readouterr().out
    export(ExportConfig(source=str(path), out=tmp_path / "out.jsonl"))
    assert load(tmp_path / "out.jsonl") == load(path)
    show(ShowConfig(source="swe-small", limit=99))
    assert "swe-small__pager" in capsys.readouterr().out


def test_the_exit_code_is_recorded_as_swebench_records_it() -> None:
    script = eval_script(TEST, "pytest -rA x", base="HEAD")
    lines = recorded(script).splitlines()
    at = lines.index(f": '{END}'")
    assert lines[at - 2 : at + 2] == [
        "pytest -rA x",
        "SWEBENCH_TEST_EXIT_CODE=$?",
        f": '{END}'",
        'echo ">>>>> Test Exit Code: $SWEBENCH_TEST_EXIT_CODE"',
    ]
    assert recorded("make check") == "make check"
    hostile = eval_script(TEST + "+EOF_114329324912\n", "true", base="HEAD")
    assert "<<'EOF_1143293249120'" in hostile
