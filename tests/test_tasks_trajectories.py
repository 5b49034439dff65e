"""Recorded runs of software-engineering agents as tasks: three formats, real files, and broken ones."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from stepgym import Task
from stepgym.errors import TaskError
from stepgym.tasks import load
from stepgym.tasks.expert_steps import step_instances
from stepgym.tasks.recorded import LONGEST_COMMAND, LONGEST_OBSERVATION, MOST_ROUNDS

MINI = {
    "trajectory_format": "mini-swe-agent-1",
    "instance_id": "a__b-1",
    "info": {"exit_status": "Submitted"},
    "messages": [
        {"role": "system", "content": "Be helpful."},
        {"role": "user", "content": "<pr_description>\nConsider the following PR description:\nIt\r\ncrashes.\n"
         "</pr_description>\n\nMeet the requirements in the <pr_description>."},
        {"role": "assistant", "content": "THOUGHT: look.\n\n```bash\nls\n```"},
        {"role": "user", "content": "<returncode>0</returncode>\r\n<output>\na.py</output>"},
        {"role": "assistant", "content": "```bash\nls\n```\nor\n```bash\npwd\n```"},
        {"role": "user", "content": "EXACTLY ONE action, found 2 actions."},
        {"role": "assistant", "content": "```bash\nsubmit\n```"},
    ],
}  # fmt: skip
SWE_AGENT = {
    "environment": "main",
    "info": {"exit_status": "submitted"},
    "history": [
        {"role": "user", "content": "ISSUE:\nanother\nINSTRUCTIONS:\n", "is_demo": True},
        {"role": "user", "content": [{"type": "text", "text": "Solve.\nISSUE:\nIt crashes.\n\n\nINSTRUCTIONS:\nDo."}]},
    ],
    "trajectory": [
        {"action": "ls\n", "observation": "a.py\r\n", "thought": "Look."},
        {"action": "", "observation": "Say again?"},
        {"action": "submit", "observation": ""},
    ],
}
XML = {
    "instance_id": "a__b-1",
    "messages": [
        {"role": "user", "content": "<pr_description>\nIt crashes.\n</pr_description>\nFix it."},
        {"role": "assistant", "content": "Look:\n\n<function=bash>\n<parameter=command>ls</parameter>\n</function>"},
        {"role": "user", "content": "OBSERVATION:\na.py"},
        {"role": "assistant", "content": "Done, I think."},
        {"role": "user", "content": "Call a function."},
        {"role": "assistant", "content": "<function=submit>\n</function>"},
    ],
}


def written(path: Path, value: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def test_mini_swe_agent_commands_are_what_the_environment_ran(tmp_path: Path) -> None:
    (task,) = load(written(tmp_path / "run.traj.json", MINI))
    assert task == Task(
        id="a__b-1",
        prompt="It\ncrashes.",
        steps=("ls", "submit"),
        meta={
            "answerless": True,
            "format": "mini-swe-agent",
            "outcome": "Submitted",
            "observations": ["<returncode>0</returncode>\n<output>\na.py</output>", ""],
        },
    )


def test_swe_agent_actions_and_the_file_names_the_instance(tmp_path: Path) -> None:
    (task,) = load(written(tmp_path / "a__b-2.traj", SWE_AGENT))
    assert (task.id, task.prompt, task.steps) == ("a__b-2", "It crashes.", ("ls", "submit"))
    assert task.meta["observations"] == ["a.py\n", ""]
    replay = json.dumps({"problem_statement": {"text": "It hangs.", "id": "c__d-3", "type": "text"}})
    (task,) = load(written(tmp_path / "e__f-4.traj", SWE_AGENT | {"replay_config": replay}))
    assert (task.id, task.prompt) == ("c__d-3", "It hangs.")


def test_swe_smith_calls(tmp_path: Path) -> None:
    as_text = XML | {"messages": json.dumps(XML["messages"]), "instance_id": "other"}
    path = tmp_path / "runs.jsonl"
    path.write_text(f"{json.dumps(XML)}\n{json.dumps(as_text)}\n", encoding="utf-8")
    task, other = load(path)
    assert task.steps == (
        "<function=bash>\n<parameter=command>ls</parameter>\n</function>",
        "<function=submit>\n</function>",
    )
    assert (task.prompt, task.meta["observations"]) == ("It crashes.", ["a.py", ""])
    assert (other.id, other.steps) == ("other", task.steps)


def test_a_folder_of_runs_and_several_runs_at_one_instance(tmp_path: Path) -> None:
    for name in ("one/a.traj.json", "two/b.traj.json", "c.traj.json"):
        written(tmp_path / name, MINI)
    (tmp_path / "notes.txt").write_text("not a run", encoding="utf-8")
    first = load(tmp_path)
    assert [task.id for task in first] == ["a__b-1", "a__b-1~2", "a__b-1~3"]
    assert load(str(tmp_path)) is first
    written(tmp_path / "d.traj.json", MINI | {"instance_id": "new"})
    assert [task.id for task in load(tmp_path)] == ["a__b-1", "new", "a__b-1~2", "a__b-1~3"]


def test_a_run_comes_back_from_task_jsonl(tmp_path: Path) -> None:
    (task,) = load(written(tmp_path / "run.traj.json", MINI))
    path = tmp_path / "tasks.jsonl"
    path.write_text(task.to_json() + "\n", encoding="utf-8")
    assert load(path) == (task,)


def test_long_outputs_lose_their_middle(tmp_path: Path) -> None:
    steps = [{"action": "cat big", "observation": "a" * LONGEST_OBSERVATION + "b" * 10}]
    (task,) = load(written(tmp_path / "x.traj", SWE_AGENT | {"trajectory": steps}))
    (observation,) = task.meta["observations"]
    assert "\n[10 characters left out]\n" in observation
    assert observation.endswith("b" * 10)
    assert len(observation) < LONGEST_OBSERVATION + 100


def step(action: Any, observation: Any = "") -> dict[str, Any]:
    return {"action": action, "observation": observation}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("a.traj", [1], r"a\.traj: expected an object with named fields, got list"),
        ("a.traj", {"x": 1}, r"a\.traj: no problem; name its column"),
        ("a.traj", SWE_AGENT | {"trajectory": []}, r"a\.traj: no command in this run \(swe-agent\)"),
        ("a.traj", SWE_AGENT | {"trajectory": [step("ls"), 3]}, r"a\.traj: trajectory\[1\] must be an object"),
        ("a.traj", SWE_AGENT | {"trajectory": [step(None)]}, r"trajectory\[0\]: action must be text, not NoneType"),
        ("a.traj", SWE_AGENT | {"trajectory": [step("ls", 7)]}, r"trajectory\[0\]: observation must be text, not int"),
        ("a.traj", SWE_AGENT | {"history": []}, r"a\.traj: the issue is empty"),
        ("a.traj", SWE_AGENT | {"trajectory": [step("x" * (LONGEST_COMMAND + 1))]}, "command 1 has 131073 characters"),
        ("a.traj", SWE_AGENT | {"trajectory": [step("ls")] * (MOST_ROUNDS + 1)}, "2001 commands, at most 2000"),
        ("a.traj.json", MINI | {"messages": 3}, "messages must be a list of messages, not int"),
        ("a.traj.json", MINI | {"messages": "[["}, "messages is neither a list nor JSON"),
        ("a.traj.json", MINI | {"messages": ["hello"]}, r"messages\[0\] must be an object with a role"),
        ("a.traj.json", MINI | {"messages": [{"role": "user", "content": 3}]}, r"messages\[0\]: content must be text"),
        ("a.traj.json", MINI | {"messages": MINI["messages"][:2]}, r"no command in this run \(mini-swe-agent\)"),
        (
            "a.jsonl",
            XML | {"messages": json.dumps(XML["messages"]).replace("ls", "\\ud800")},
            "half of a surrogate pair",
        ),
        ("a.jsonl", XML | {"messages": XML["messages"][:1]}, r"a\.jsonl:1: no reply has a <function=…> call"),
    ],
)
def test_broken_runs_are_refused_with_their_place(tmp_path: Path, name: str, value: Any, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        load(written(tmp_path / name, value))


@pytest.mark.parametrize(
    "piece", ["```bash\n", "<function=", "<function=a>\n", "<pr_description>", "ISSUE:\n", "<pr_description>   "]
)
def test_hostile_runs_take_linear_time(tmp_path: Path, piece: str) -> None:
    said = [{"role": role, "content": piece * 200_000} for role in ("user", "assistant")]
    files = [
        written(tmp_path / "a.traj.json", MINI | {"messages": said}),
        written(tmp_path / "b.jsonl", XML | {"messages": said}),
    ]
    started = time.process_time()
    for file in files:
        with pytest.raises(TaskError, match=r"no command|no reply"):
            load(file)
    assert time.process_time() - started < 10  # a tenth of a second or so; quadratic time would be many minutes


def test_a_folder_without_runs(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"is a folder without recorded runs \(\.traj, \.traj\.json\)"):
        load(tmp_path)


REPLAY = "replay__marshmallow-code__marshmallow-1867"
REAL = {
    "mini_swe_agent": {
        "django__django-11099": 21,
        "django__django-16255": 17,
        "pallets__flask-5014": 20,
        "psf__requests-1766": 25,
        "psf__requests-5414": 47,
        "pylint-dev__pylint-6903": 16,
        "pytest-dev__pytest-5262": 26,
        "pytest-dev__pytest-7432": 34,
        "pytest-dev__pytest-8399": 27,
        "sympy__sympy-13480": 22,
        "sympy__sympy-23824": 21,
        "sympy__sympy-24213": 29,
    },
    "swe_agent": {
        "pydicom__pydicom-1458": 12,
        f"{REPLAY}__default__t-0.20__p-0.95__c-2.00__install-1___install_from_source": 14,
        "marshmallow-code__marshmallow-1867": 11,
        "marshmallow-code__marshmallow-1867~2": 11,
    },
    "swe_smith": {"pandas-dev__pandas.95280573.pr_53856": 17},
    "swe_smith/ft_xml_example.jsonl": {
        "pandas-dev__pandas.95280573.pr_53652": 37,
        "getmoto__moto.694ce1f4.pr_7331": 44,
        "pydantic__pydantic.acb0f10f.pr_8316": 22,
    },
}  # fmt: skip
"""Commands in each run. Two-block replies ran nothing: 3 of requests-5414, 1 of pytest-5262, 1 of pytest-7432."""


@pytest.mark.parametrize("source", REAL)
def test_real_runs(source: str, data_dir: Path) -> None:
    place = data_dir / "swe" / "trajectories" / source
    if not place.exists():
        pytest.skip(f"no recorded runs: {place}")
    tasks = load(place)
    assert {task.id: len(task.steps) for task in tasks} == REAL[source]
    for task in tasks:
        assert not any(mark in task.prompt for mark in ("pr_description", "INSTRUCTIONS", "uploaded_files", "ISSUE:"))
        assert len(task.meta["observations"]) == len(task.steps)
        assert not any("THOUGHT" in command or "```bash" in command for command in task.steps)
        instances = step_instances(task)
        assert len(instances) == len(task.steps) - 1
        assert max(len(instance.prompt) for instance in instances) < len(task.prompt) + 40_000
    if source.endswith(".jsonl"):
        commands = [command for task in tasks for command in task.steps]
        assert all(c.startswith("<function=") and c.endswith("</function>") for c in commands)


def test_a_task_description_beside_the_runs_is_no_run(data_dir: Path) -> None:
    place = data_dir / "swe" / "trajectories" / "swe_smith" / "pandas-dev__pandas.95280573.pr_53652.task.json"
    if not place.exists():
        pytest.skip(f"no such file: {place}")
    with pytest.raises(TaskError, match="expected a list of rows"):
        load(place)
