"""`stepgym eval swe` as people run it, on the tasks that come with the package, in real sandboxes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepgym.agents import BashAgent, Sampling, ScriptedPolicy, recording
from stepgym.agents.swe_scripted import gold_command
from stepgym.codec import encode
from stepgym.errors import ConfigError, SandboxError, StoreError, TaskError, UnknownNameError
from stepgym.evals.swe import SWEEval, evaluate_swe, rescore_swe
from stepgym.evals.swe_report import InstanceResult, SWEReport
from stepgym.evals.swe_validation import validate_swe
from stepgym.evals.viewing import find_trajectory, text_of, write_page
from stepgym.records import Message, Reply, Role, Stop, Task, Usage
from stepgym.rewards.swe.hidden_tests import HiddenTests
from stepgym.tasks import load
from stepgym.tasks.swe import ENVIRONMENT, KEY, instance_of
from stepgym.tasks.swe_python import pinned
from stepgym.tasks.swe_scripts import eval_script
from stepgym.trajectories import StoredTrajectory, read_trajectories
from tests.official_harness import BASE, images
from tests.swebench_process import Oracle

pytestmark = pytest.mark.usefixtures("namespaces")

QUICK = ("swe-small__flags", "swe-small__notes", "swe-small__pager")
NOWHERE = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"
"""A patch of a file that is not there."""


def task(name: str) -> Task:
    return next(each for each in load("swe-small") if each.id == f"swe-small__{name}")


def changed(name: str, new: str, change: Callable[[str], str] = str, **fields: Any) -> Task:
    """A task under another id, with another script or other fields."""
    was = task(name)
    instance = instance_of(was)
    script = {"eval_script": change(instance.eval_script), **fields}
    return replace(was, id=new, prompt=f"{was.prompt} ({new})", meta={KEY: encode(replace(instance, **script))})


def hang(script: str) -> str:
    """A script whose tests never end."""
    return script.replace("python3 -m unittest", "sleep 1234.5; true")


def written(path: Path, *tasks: Task) -> Path:
    path.write_text("".join(each.to_json() + "\n" for each in tasks))
    return path


def lines(out: Path) -> list[StoredTrajectory]:
    return list(read_trajectories(out / "trajectories.jsonl"))


def by_id(report: SWEReport) -> dict[str, InstanceResult]:
    return {each.id: each for each in report.instances}


def command(*words: object) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "stepgym.cli", *map(str, words)]


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command("eval", "swe", *words), capture_output=True, text=True, timeout=120)


def wait_for_lines(process: subprocess.Popen[str], out: Path, count: int) -> None:
    file = out / "trajectories.jsonl"
    for _ in range(6000):
        if file.exists() and file.read_bytes().count(b"\n") >= count:
            return
        if process.poll() is not None:
            assert process.stderr is not None
            raise AssertionError(f"the run ended before {count} instances: {process.stderr.read()}")
        time.sleep(0.01)
    process.kill()
    raise AssertionError("the run does not get on")


def processes(words: str) -> list[str]:
    """Those on this machine with exactly these words, in sandboxes and outside."""
    wanted = words.replace(" ", "\0").encode() + b"\0"
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):  # ended meanwhile
            if entry.name.isdigit() and (entry / "cmdline").read_bytes() == wanted:
                found.append(entry.name)
    return found


@pytest.fixture(scope="module")
def gold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of the gold agent on all shipped tasks."""
    out = tmp_path_factory.mktemp("runs") / "gold"
    done = run("--agent", "gold", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "8 of 8 resolved, 8 strict" in done.stderr
    assert "resolved   100.00 %   [67.6, 100.0]   8 of 8, officially" in done.stdout
    assert done.stdout.splitlines()[-1] == str(out / "report.json")
    return out


def test_gold_resolves_everything_and_every_piece_is_kept(gold: Path) -> None:
    report = json.loads((gold / "report.json").read_text())
    assert (report["resolved"], report["strict"], report["unresolved"]) == (8, 8, 0)
    assert [report[name] for name in ("ungraded", "failed", "missing", "tampered", "empty")] == [0] * 5
    folder = gold / "instances" / "swe-small__pager"
    assert (folder / "patch.diff").read_text().startswith("diff --git a/pager/")
    assert ">>>>> Start Test Output" in (folder / "test_output.txt").read_text()
    verdict = json.loads((folder / "report.json").read_text())["swe-small__pager"]
    assert (verdict["resolved"], verdict["strict"], verdict["tampered"], verdict["infra_failure"]) == (
        True,
        True,
        [],
        False,
    )
    assert verdict["tests_status"]["FAIL_TO_PASS"]["failure"] == []
    episode = next(line.trajectory for line in lines(gold) if line.trajectory.task.id == "swe-small__pager")
    assert [step.score.value for step in episode.steps] == [0.0, 1.0]


def test_gold_resolves_everything_on_other_machines(
    ray_cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", ray_cluster.address)
    check_gold(tmp_path / "run", "--sandbox", "ray")


def test_gold_resolves_everything_in_containers(docker_engine: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        try:
            stack.enter_context(images(docker_engine, []))
        except RuntimeError as error:
            pytest.skip(f"there is no image with git and Python: {error}")
        check_gold(tmp_path / "run", "--sandbox", "docker", "--image", BASE)


def check_gold(out: Path, *words: str) -> None:
    done = run("--agent", "gold", "--out", out, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((out / "report.json").read_text())
    assert (report["sandbox"], report["resolved"], report["strict"], report["tampered"]) == (words[1], 8, 8, 0)


def test_a_finished_run_has_nothing_left_to_do(gold: Path) -> None:
    before = (gold / "trajectories.jsonl").read_bytes()
    done = run("--agent", "gold", "--out", gold)
    assert done.returncode == 0, done.stderr
    assert (gold / "trajectories.jsonl").read_bytes() == before
    other = run("--agent", "noop", "--out", gold)
    assert other.returncode == 2
    assert 'holds a run with agent = "gold", not "noop"' in other.stderr


def test_no_op_resolves_nothing(tmp_path: Path) -> None:
    report = evaluate_swe(SWEEval(agent="noop", out=tmp_path / "run"))
    assert (report.resolved, report.strict, report.unresolved, report.empty) == (0, 0, 8, 8)
    assert report.broken == []
    assert {entry["model_patch"] for entry in json.loads((tmp_path / "run" / "preds.json").read_text()).values()} == {
        ""
    }


def test_judging_again_needs_no_sandbox_and_says_the_same(gold: Path) -> None:
    before, report = lines(gold), (gold / "report.json").read_text()
    text = (gold / "trajectories.jsonl").read_text()
    (gold / "trajectories.jsonl").write_text(text.replace('"value": 1.0', '"value": 0.0'))
    log = gold / "instances" / "swe-small__pager" / "test_output.txt"
    kept = log.read_text()
    started = time.monotonic()
    done = run("--out", gold, "--rescore")
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 5
    assert lines(gold) == before
    assert (gold / "report.json").read_text() == report
    try:  # it is the log that is read
        log.write_text(kept.replace("... ok", "... FAIL"))
        again = rescore_swe(gold)
        assert (again.resolved, again.strict) == (7, 7)
    finally:
        log.write_text(kept)
    assert rescore_swe(gold).resolved == 8


def test_kill_at_any_moment_loses_nothing_and_does_nothing_twice(tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ("--agent", "gold", "--out", out, "--workers", 2)
    for kept in (1, 4):
        with subprocess.Popen(command("eval", "swe", *words), stderr=subprocess.PIPE, text=True) as process:
            wait_for_lines(process, out, kept)
            process.send_signal(signal.SIGKILL)
    with (out / "trajectories.jsonl").open("ab") as file:
        file.write(b'{"version": 1, "trajec')  # a line torn by the kill
    before = lines(out)
    assert 4 <= len(before) < 8
    done = run(*words)
    assert done.returncode == 0, done.stderr
    after = lines(out)
    assert after[: len(before)] == before
    assert set(Counter(line.trajectory.task.id for line in after).values()) == {1}
    assert json.loads((out / "report.json").read_text())["strict"] == 8


@pytest.mark.parametrize("sandbox", ["namespace", "ray"])
def test_an_interrupted_run_ends_at_once_and_leaves_no_sandbox(
    sandbox: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sandbox == "ray":
        monkeypatch.setenv("RAY_ADDRESS", request.getfixturevalue("ray_cluster").address)
    hanging = changed("pager", "hangs", hang)
    out = tmp_path / "run"
    words: list[object] = ["--tasks", written(tmp_path / "tasks.jsonl", task("flags"), hanging), "--sandbox", sandbox]
    words += ["--agent", "gold", "--out", out]
    with subprocess.Popen(command("eval", "swe", *words), stderr=subprocess.PIPE, text=True) as process:
        wait_for_lines(process, out, 1)
        time.sleep(1.0)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr is not None
        said = process.stderr.read()
    assert time.monotonic() - started < 15
    assert f"{out} keeps what is finished; the same command goes on from there" in said
    assert "Traceback" not in said
    assert [line.trajectory.task.id for line in lines(out)] == ["swe-small__flags"]
    assert processes("sleep 1234.5") == []


def test_broken_instances_are_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    good = task("flags")
    tasks = [
        good,
        changed("pager", "no-source", source=str(tmp_path / "nowhere")),
        changed("pager", "no-image", source="", image=str(tmp_path / "image")),
        changed("pager", "hangs", hang),
        changed("pager", "no-parser", log_parser="parse_log_nothing"),
        replace(
            task("notes"),
            id="bad-patch",
            prompt="p",
            answer="diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n",
        ),
        Task(id="sum", prompt="1+1", answer="2"),
    ]
    out = tmp_path / "run"
    file = written(tmp_path / "tasks.jsonl", *tasks)
    with file.open("a") as rows:
        rows.write('{"instance_id": "row__1", "repo": "a/b", "FAIL_TO_PASS": 3, "patch": "x"}\n')
    done = run("--tasks", file, "--agent", "gold", "--out", out, "--test-seconds", 2)
    assert done.returncode == 2
    report = json.loads((out / "report.json").read_text())
    assert (report["task_count"], report["resolved"], report["unresolved"]) == (5, 1, 1)
    assert (report["failed"], report["ungraded"], len(report["unusable"])) == (2, 1, 3)
    found = {each["id"]: each for each in report["instances"]}
    assert found["swe-small__flags"]["strict"] is True
    assert found["bad-patch"]["resolved"] is False
    assert str(tmp_path / "nowhere") in found["no-source"]["why"]
    assert str(tmp_path / "image") in found["no-image"]["why"]
    assert "killed after 2 s" in found["hangs"]["why"]
    named = "\n".join(report["unusable"])
    assert "parse_log_nothing" in named
    assert "'sum'" in named
    assert f"{file}:8" in named
    for each in ("no-source", "no-image", "hangs", "parse_log_nothing"):
        assert each in done.stdout
    assert "6 instances have no verdict, such as " in done.stderr
    assert "the same command tries again what failed" in done.stderr
    stored = {line.trajectory.task.id: line.trajectory for line in lines(out)}
    assert stored["hangs"].stop is Stop.UNGRADED
    assert json.loads((out / "preds.json").read_text()).keys() == {"swe-small__flags", "bad-patch", "hangs"}
    assert rescore_swe(out).ungraded == 1  # the tests ran again, and hang still


def test_predictions_made_elsewhere(gold: Path, tmp_path: Path) -> None:
    report = evaluate_swe(SWEEval(predictions=gold / "preds.json", out=tmp_path / "all"))
    assert (report.task_count, report.resolved, report.strict, report.agent) == (8, 8, 8, "gold")
    ours = json.loads((gold / "preds.json").read_text())
    assert json.loads((tmp_path / "all" / "preds.json").read_text()) == ours
    rows = [
        {"instance_id": "swe-small__flags", "model_name_or_path": "m", "model_patch": None},
        {"instance_id": "swe-small__notes", "model_name_or_path": "m", "model_patch": "no diff \ud800"},
        ours["swe-small__pager"],
    ]
    file = tmp_path / "some.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    some = evaluate_swe(SWEEval(predictions=file, out=tmp_path / "some"))
    assert (some.task_count, some.resolved, some.unresolved, some.empty) == (3, 1, 2, 1)
    file.write_text(file.read_text().replace("no diff", "another"))
    with pytest.raises(StoreError, match="predictions_digest"):
        evaluate_swe(SWEEval(predictions=file, out=tmp_path / "some"))


def test_the_official_harness_takes_our_predictions_and_agrees(gold: Path, oracle: Oracle, tmp_path: Path) -> None:
    rows = [official_row(each) for each in load("swe-small")]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    theirs = oracle.ask(ask="predictions", path=str(gold / "preds.json"), rows=str(tmp_path / "rows.json"))
    assert theirs == {"answer": sorted(row["instance_id"] for row in rows)}
    predictions = json.loads((gold / "preds.json").read_text())
    for row in rows:
        folder = gold / "instances" / row["instance_id"]
        log, patch = (folder / "test_output.txt").read_text(), predictions[row["instance_id"]]["model_patch"]
        answer = oracle.ask(ask="grade", row=row, log=log, patch=patch)["answer"]
        ours = json.loads((folder / "report.json").read_text())
        (official,), (kept,) = answer.values(), ours.values()
        assert official == {name: kept[name] for name in official}
        assert official["resolved"] is True


def official_row(task: Task) -> dict[str, Any]:
    """A task as a row of swebench 5."""
    instance = instance_of(task)
    names = ("repo", "version", "base_commit", "test_patch", "eval_script", "log_parser", "eval_type")
    lists = {"FAIL_TO_PASS": list(instance.fail_to_pass), "PASS_TO_PASS": list(instance.pass_to_pass)}
    about = {"instance_id": task.id, "image": "x", "patch": task.answer, "problem_statement": task.prompt}
    return about | lists | {name: getattr(instance, name) for name in names}


@pytest.mark.parametrize(
    ("content", "error", "why"),
    [
        (
            '[{"instance_id": "swe-small__pagr", "model_patch": ""}]',
            UnknownNameError,
            "did you mean 'swe-small__pager'",
        ),
        ('[{"instance_id": "a", "model_patch": ""}, {"instance_id": "a", "model_patch": "x"}]', TaskError, "a second"),
        ('[{"instance_id": "a"}]', TaskError, "entry 1: model_patch must be text"),
        ('[{"model_patch": "a"}]', TaskError, "entry 1: no instance_id"),
        ('{"a": 3}', TaskError, "a prediction is a table, not int"),
        ("[]", TaskError, "there is no prediction in it"),
        ("3", TaskError, "a list, or a table by id"),
        ("{", TaskError, "not JSON"),
    ],
)
def test_predictions_that_are_none(tmp_path: Path, content: str, error: type[Exception], why: str) -> None:
    file = tmp_path / "preds.json"
    file.write_text(content)
    with pytest.raises(error, match=why):
        evaluate_swe(SWEEval(predictions=file, out=tmp_path / "run"))
    assert not (tmp_path / "run" / "config.json").exists()


def as_pytest(was: Task) -> Task:
    """The task with its tests run by pytest, in an environment of wheels."""
    instance = instance_of(was)
    files = ("tests/test_last_page.py", "tests/test_pager.py")
    script = eval_script(
        instance.test_patch,
        f"python -m pytest -rA -p no:cacheprovider {' '.join(files)}",
        base=instance.base_commit,
        before=[f"export PATH={ENVIRONMENT}/bin:$PATH PYTHONDONTWRITEBYTECODE=1"],
    )
    names = {"LastPageTest": files[0], "PagerTest": files[1]}

    def renamed(tests: tuple[str, ...]) -> tuple[str, ...]:
        parts = [test.partition(" ")[2].strip("()").split(".")[-2:] for test in tests]
        return tuple(f"{names[owner]}::{owner}::{name}" for owner, name in parts)

    asked = replace(
        instance,
        eval_script=script,
        log_parser="parse_log_pytest",
        requirements=pinned([f"pytest=={pytest.__version__}"]),
        fail_to_pass=renamed(instance.fail_to_pass),
        pass_to_pass=renamed(instance.pass_to_pass),
    )
    return replace(was, meta={KEY: encode(asked)})


def forgery(tests: tuple[str, ...]) -> str:
    """A patch with a conftest.py that says all tests have passed, and ends the run."""
    prints = [f"    print({f'PASSED {test}'!r}, flush=True)" for test in tests]
    code = ["import os", "def pytest_configure(config):", *prints, "    os._exit(0)"]
    head = "diff --git a/conftest.py b/conftest.py\nnew file mode 100644\n--- /dev/null\n+++ b/conftest.py\n"
    return f"{head}@@ -0,0 +1,{len(code)} @@\n" + "".join(f"+{line}\n" for line in code)


def test_a_forged_conftest_is_resolved_officially_and_not_strictly(tmp_path: Path) -> None:
    honest = as_pytest(task("pager"))
    forged = replace(honest, id="forged", prompt="another")
    lists = instance_of(honest)
    rows = [
        {"instance_id": honest.id, "model_name_or_path": "m", "model_patch": honest.answer},
        {
            "instance_id": "forged",
            "model_name_or_path": "m",
            "model_patch": forgery(lists.fail_to_pass + lists.pass_to_pass),
        },
    ]
    file, tasks = tmp_path / "preds.json", written(tmp_path / "tasks.jsonl", honest, forged)
    file.write_text(json.dumps(rows))
    report = evaluate_swe(SWEEval(tasks=str(tasks), predictions=file, out=tmp_path / "run"))
    found = by_id(report)
    assert (found[honest.id].resolved, found[honest.id].strict, found[honest.id].tampered) == (True, True, False)
    assert (found["forged"].resolved, found["forged"].strict, found["forged"].tampered) == (True, False, True)
    kept = json.loads((tmp_path / "run" / "instances" / "forged" / "report.json").read_text())["forged"]
    assert (kept["resolved"], kept["strict"], kept["removed"]) == (True, False, ["conftest.py"])
    again = rescore_swe(tmp_path / "run")
    assert (again.resolved, again.strict, again.tampered) == (2, 1, 1)


def test_a_policy_at_a_shell_and_what_it_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = {each.prompt: gold_command(each.answer) for each in load("swe-small") if each.id in QUICK[:2]}

    class Scripted(ScriptedPolicy):
        async def sample(self, messages: Sequence[Message], sampling: Sampling) -> Reply:
            key = next((prompt for prompt in answers if prompt in messages[1].content), "")
            turn = sum(message.role is Role.ASSISTANT for message in messages)
            text = ("ls", answers.get(key, "false"), "submit")[turn]
            usage = Usage(prompt_tokens=10, completion_tokens=2, dollars=0.01)
            return Reply(text=f"THOUGHT: go on\n\n```bash\n{text}\n```", usage=usage)

    out = tmp_path / "run"
    config = SWEEval(ids=QUICK, policy="none", model="scripted", out=out, workers=3)
    report = evaluate_swe(config, make_agent=lambda: BashAgent(Scripted()))
    assert (report.resolved, report.strict, report.unresolved, report.empty) == (2, 2, 1, 1)
    assert (report.usage.prompt_tokens, report.usage.completion_tokens) == (90, 18)
    assert report.agent == "bash:scripted"
    said = capsys.readouterr().err
    assert "2 of 3 resolved, 2 strict, 108 tokens, 0.09 dollars" in said
    cut = evaluate_swe(
        SWEEval(ids=QUICK, policy="none", model="scripted", out=tmp_path / "cut", steps=2),
        make_agent=lambda: BashAgent(Scripted(), steps=2),
    )
    assert cut.resolved == 2  # what is there when the budget is used up is handed in


def test_recorded_runs_are_replayed(gold: Path, tmp_path: Path) -> None:
    played = [recording(line.trajectory) for line in lines(gold) if line.trajectory.task.id in QUICK]
    file = written(tmp_path / "recorded.jsonl", *played, task("events"))
    report = evaluate_swe(SWEEval(tasks=str(file), agent="replay", out=tmp_path / "run"))
    assert (report.resolved, report.strict, len(report.unusable)) == (3, 3, 1)
    assert "swe-small__events: there is no recorded run to replay" in report.unusable


def test_settings_that_cannot_work_leave_no_run(tmp_path: Path) -> None:
    out = tmp_path / "run"
    for settings, error, why in (
        ({"agent": "gold", "ids": ("pager",)}, UnknownNameError, "task"),
        ({"agent": "gold", "sandbox": "dokcer"}, UnknownNameError, "did you mean 'docker'"),
        ({"agent": "gold", "sandbox": "ray:dokcer"}, UnknownNameError, "did you mean 'docker'"),
        ({"agent": "gold", "image": "python:3.12"}, SandboxError, "is a folder with a root file system"),
        ({"agent": "gold", "workers": 0}, ConfigError, "workers must be positive"),
        ({"agent": "bash", "policy": "opneai"}, UnknownNameError, "did you mean 'openai'"),
        ({"agent": "replay"}, TaskError, "no task is left"),
        ({"agent": "gold", "tasks": "arithmetic"}, TaskError, "not a software-engineering task"),
    ):
        with pytest.raises(error, match=why):
            evaluate_swe(SWEEval(out=out, **settings))  # type: ignore[arg-type]
    assert not (out / "config.json").exists()
    with pytest.raises(StoreError, match="holds no trajectories"):
        rescore_swe(tmp_path / "nowhere")


def test_validation_names_what_judges_wrongly(tmp_path: Path) -> None:
    rejected = replace(task("flags"), id="rejected", answer=task("pager").answer)
    lists = {"fail_to_pass": instance_of(task("notes")).pass_to_pass, "pass_to_pass": ()}
    hanging = changed("pager", "hangs", hang, timeout=1.0)
    unreadable = changed("pager", "unreadable", log_parser="parse_log_nothing")
    tasks = [task("settings"), rejected, changed("notes", "accepted", **lists), hanging, unreadable]
    file = written(tmp_path / "tasks.jsonl", *tasks)
    with file.open("a") as rows:
        rows.write('{"instance_id": "row__1", "repo": "a/b", "FAIL_TO_PASS": 3, "patch": "x"}\n')
    words = ("validate", file, "--repeats", 1, "--json")
    done = subprocess.run(command(*words), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(flaw["task"], flaw["kind"], flaw.get("answer", "")) for flaw in found] == [
        (f"{file}:6", "unreadable", ""),
        ("rejected", "gold rejected", "the gold patch"),
        ("accepted", "wrong accepted", "no change"),
        ("hangs", "ungraded", "the gold patch"),
        ("hangs", "ungraded", "no change"),
        ("unreadable", "unreadable", ""),
    ]
    assert f"5 of 6 tasks of {file} fail" in done.stderr


def test_validation_names_flaky_tests() -> None:
    coin = "[ $((RANDOM % 2)) = 0 ] || rm -rf pager; python3 -m unittest"
    flaky = changed("pager", "flaky", lambda script: script.replace("python3 -m unittest", coin))
    tests = HiddenTests(twins=False)
    (flaws,) = validate_swe([flaky], tests, repeats=14, workers=1)  # all alike once in 8,000 times
    assert [flaw.kind for flaw in flaws][:1] == ["flaky"]
    assert "not alike in 14 runs: test_empty (tests.test_last_page" in flaws[0].why


def test_the_viewer_shows_patch_and_verdict(gold: Path, tmp_path: Path) -> None:
    page = write_page(gold, tmp_path / "view.html", limit=500).read_text()
    assert "diff --git a/pager/" in page
    assert "all 8 tests did what is asked" in page
    assert "8 of 8" in page
    text = text_of(find_trajectory(gold, "swe-small__pager", 0))
    assert "git apply" in text
    assert "&lt;returncode&gt;0&lt;/returncode&gt;" in page
