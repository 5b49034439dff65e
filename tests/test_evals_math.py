"""`stepgym eval math` as people run it: a process, a real endpoint, kills and interruptions."""

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepgym.errors import ConfigError, StoreError, TaskError, UnknownNameError
from stepgym.evals import MathEval, evaluate_math, rescore_math
from stepgym.records import Reply, Stop, Task
from stepgym.trajectories import StoredTrajectory, read_trajectories

SERVER = Path(__file__).with_name("endpoint_server.py")
COUNT = 40


@pytest.fixture
def base_url() -> Iterator[str]:
    with subprocess.Popen([sys.executable, SERVER], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        process.kill()


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """Sums; the last four have a gold answer that the endpoint, which adds up correctly, will miss."""
    rows = [Task(id=f"t{i}", prompt=f"What is {i}+{i}?", answer=str(2 * i + (i >= COUNT - 4))) for i in range(COUNT)]
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(row.to_json() + "\n" for row in rows))
    return path


def command(*words: object) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "stepgym.cli", *map(str, words)]


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), capture_output=True, text=True, timeout=60)


def lines(out: Path) -> list[StoredTrajectory]:
    return list(read_trajectories(out / "trajectories.jsonl"))


def seen(base_url: str) -> Counter[str]:
    """How often the endpoint was asked each question."""
    with urllib.request.urlopen(base_url) as response:
        return Counter(json.load(response)["prompts"])


def wait_for_lines(out: Path, count: int) -> None:
    file = out / "trajectories.jsonl"
    for _ in range(3000):
        if file.exists() and file.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.01)
    raise AssertionError("the run does not get on")


def test_a_run_ends_with_a_table_a_report_and_its_path(tasks: Path, base_url: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ("eval", "math", "--tasks", tasks, "--model", "sums", "--base-url", base_url, "--out", out)
    done = run(*words, "--prompt-price", 1000000)
    assert done.returncode == 0, done.stderr
    assert "pass@1      90.00 %   [" in done.stdout
    assert "graded     40 of 40 samples\n" in done.stdout
    assert "400 read, 200 written" in done.stdout
    assert "400.00 dollars" in done.stdout
    assert done.stdout.splitlines()[-1] == str(out / "report.json")
    assert f"{COUNT}/{COUNT}" in done.stderr
    report = json.loads((out / "report.json").read_text())
    assert report["average"]["value"] == 0.9
    assert report["average"]["low"] < 0.9 < report["average"]["high"]
    assert (report["failed"], report["ungraded"], report["missing"], report["unanswered"]) == (0, 0, 0, 0)
    again = run(*words, "--json")  # nothing left to do: no question is asked again
    assert json.loads(again.stdout)["average"] == report["average"]
    assert set(seen(base_url).values()) == {1}


def test_kill_at_any_moment_loses_nothing_and_does_nothing_twice(tasks: Path, base_url: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ("eval", "math", "--tasks", tasks, "--model", "slow", "--base-url", base_url, "--out", out)
    words = (*words, "--samples", 3, "--temperature", 1, "--concurrency", 4)
    for kept in (7, 40, 80):
        with subprocess.Popen(command(*words), stderr=subprocess.DEVNULL) as process:
            wait_for_lines(out, kept)
            process.send_signal(signal.SIGKILL)
    with (out / "trajectories.jsonl").open("ab") as file:
        file.write(b'{"version": 1, "trajec')  # a line torn by the kill
    before = lines(out)
    assert 80 <= len(before) < 3 * COUNT
    done = run(*words)
    assert done.returncode == 0, done.stderr
    after = lines(out)
    assert after[: len(before)] == before
    assert Counter((line.trajectory.task.id, line.sample) for line in after) == Counter(
        {(f"t{i}", sample): 1 for i in range(COUNT) for sample in range(3)}
    )
    # Asked again was only what a kill caught under way: four at a time, three times.
    assert sum(seen(base_url).values()) <= 3 * COUNT + 12
    assert len({line.seed for line in after}) == 3 * COUNT


def test_an_interrupted_run_says_how_to_go_on(tasks: Path, base_url: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ("eval", "math", "--tasks", tasks, "--model", "slow", "--base-url", base_url, "--out", out)
    words = (*words, "--concurrency", 2)
    with subprocess.Popen(command(*words), stderr=subprocess.PIPE, text=True) as process:
        wait_for_lines(out, 5)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr is not None
        said = process.stderr.read()
    assert f"{out} keeps what is finished; the same command goes on from there" in said
    assert "Traceback" not in said
    before = lines(out)
    assert 5 <= len(before) < COUNT
    assert all(line.trajectory.stop is Stop.ANSWERED for line in before)
    assert run(*words).returncode == 0
    assert lines(out)[: len(before)] == before
    assert len(lines(out)) == COUNT


def test_a_failed_sample_does_not_stop_the_run_and_is_tried_again(tasks: Path, base_url: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ("eval", "math", "--tasks", tasks, "--model", "odd-broken", "--base-url", base_url, "--out", out)
    words = (*words, "--retries", 0, "--patience", 30)
    first = run(*words)
    assert first.returncode == 2
    assert "6 of 40 samples failed, such as t" in first.stderr
    assert "HTTP 500: 'oops'" in first.stderr
    assert "the same command tries them again" in first.stderr
    report = json.loads((out / "report.json").read_text())
    assert (report["graded"], report["failed"]) == (34, 6)
    assert report["unmeasured"] == 6
    assert report["average"]["value"] == pytest.approx(31 / 34)  # t38 is one of the wrong ones
    assert run(*words).returncode == 2  # they fail a second time, and are then gone
    third = run(*words)
    assert third.returncode == 0, third.stderr
    assert "pass@1      90.00 %" in third.stdout
    stops = Counter(line.trajectory.stop for line in lines(out))
    assert stops == {Stop.ANSWERED: 40, Stop.ERROR: 12}


@pytest.mark.parametrize("model", ["broken", "garbage", "refused"])
def test_a_dead_endpoint_ends_the_run_with_one_sentence(tasks: Path, base_url: str, tmp_path: Path, model: str) -> None:
    words = ("eval", "math", "--tasks", tasks, "--model", model, "--base-url", base_url, "--out", tmp_path / "run")
    done = run(*words, "--retries", 0, "--patience", 5)
    assert done.returncode == 2
    (last,) = [line for line in done.stderr.splitlines() if line.startswith("stepgym: ")]
    assert "stopped after 5 failures in a row; the last: PolicyError: " in last
    assert base_url in last
    assert "Traceback" not in done.stderr
    assert len(lines(tmp_path / "run")) >= 5


def test_nobody_listens(tasks: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    words = ("--model", "m", "--base-url", "http://127.0.0.1:9/v1", "--out", tmp_path / "run")
    done = run("eval", "math", "--tasks", tasks, *words)
    assert done.returncode == 2
    assert "http://127.0.0.1:9/v1 (model 'm'): cannot connect" in done.stderr
    assert time.monotonic() - started < 20


def gold(tasks: Path, out: Path, **settings: Any) -> MathEval:
    return MathEval(policy="gold", tasks=str(tasks), out=out, **settings)


def test_a_folder_belongs_to_one_run(tasks: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    evaluate_math(gold(tasks, out))
    evaluate_math(gold(tasks, out, concurrency=1, patience=3))  # how, not what
    with pytest.raises(StoreError, match=r"holds a run with max_tokens = 2048, not 100; use the same settings"):
        evaluate_math(gold(tasks, out, max_tokens=100))
    with pytest.raises(StoreError, match=r"holds a run with limit = the default, not 3"):
        evaluate_math(gold(tasks, out, limit=3))
    tasks.write_text(tasks.read_text().replace("What is 3+3?", "What is 4+4?"))
    with pytest.raises(StoreError, match="tasks_digest"):
        evaluate_math(gold(tasks, out))


def test_settings_that_cannot_work(tasks: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(UnknownNameError, match="did you mean 'qwen-boxed'"):
        evaluate_math(gold(tasks, out, prompt="qwen_boxed"))
    with pytest.raises(UnknownNameError, match="'math'"):
        evaluate_math(gold(tasks, out, grader="maths"))
    with pytest.raises(ConfigError, match="one answer 4 times; give --temperature"):
        evaluate_math(gold(tasks, out, samples=4))
    with pytest.raises(ConfigError, match="samples must be at least 1"):
        evaluate_math(gold(tasks, out, samples=0))
    with pytest.raises(ConfigError, match="'gold' has no setting 'base_url'"):
        evaluate_math(gold(tasks, out, base_url="http://localhost"))
    with pytest.raises(StoreError, match="holds no trajectories"):
        rescore_math(tmp_path / "nowhere", grader="math")
    assert evaluate_math(gold(tasks, out)).graded == COUNT  # none of that has claimed the folder


def test_two_processes_do_not_share_a_folder(tasks: Path, base_url: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ("eval", "math", "--tasks", tasks, "--model", "slow", "--base-url", base_url, "--out", out)
    with subprocess.Popen(command(*words, "--concurrency", 1), stderr=subprocess.DEVNULL) as process:
        wait_for_lines(out, 1)
        second = run(*words)
        process.kill()
    assert second.returncode == 2
    assert "is being written by another process" in second.stderr


def test_rescoring_needs_no_model_and_changes_no_answer(tasks: Path, base_url: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ("eval", "math", "--tasks", tasks, "--model", "sums", "--base-url", base_url, "--out", out)
    assert run(*words).returncode == 0
    before, report = lines(out), (out / "report.json").read_text()
    spoiled = (out / "trajectories.jsonl").read_text().replace('"value": 1.0', '"value": 0.0')
    (out / "trajectories.jsonl").write_text(spoiled)
    done = run("eval", "math", "--out", out, "--rescore")
    assert done.returncode == 0, done.stderr
    assert lines(out) == before
    assert (out / "report.json").read_text() == report
    other = rescore_math(out, grader="math-verify")
    assert other.grader == "math-verify"
    assert other.average is not None
    assert other.average.value == 0.9
    assert {line.grader for line in lines(out)} == {"math-verify"}
    mixed = run(*words)  # going on with the first grader would mix verdicts
    assert mixed.returncode == 2
    assert "grader" in mixed.stderr
    assert sum(seen(base_url).values()) == COUNT


def test_prompts_reach_the_model_as_published(tasks: Path, base_url: str, tmp_path: Path) -> None:
    boxed = r"Please reason step by step, and put your final answer within \boxed{}."
    expected = {
        "qwen25-math-cot": [["system", boxed], ["user", "What is 0+0?"]],
        "qwen-boxed": [["system", "You are a helpful assistant."], ["user", f"What is 0+0?\n{boxed}"]],
        "boxed": [["user", f"What is 0+0?\n{boxed}"]],
        "plain": [["user", "What is 0+0?"]],
    }
    for prompt, messages in expected.items():
        out = tmp_path / prompt
        config = MathEval(tasks=str(tasks), model="sums", base_url=base_url, out=out, prompt=prompt, limit=1)
        evaluate_math(config)
        with urllib.request.urlopen(base_url) as response:
            body = json.load(response)["body"]
        assert [[message["role"], message["content"]] for message in body["messages"]] == messages
        assert (body["temperature"], body["top_p"], body["max_tokens"]) == (0, 1, 2048)
        assert body["stop"] == ["</s>", "<|im_end|>", "<|endoftext|>"]


def test_braces_in_a_problem_are_left_alone(base_url: str, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    prompt = r"Let $\frac{1}{2} = {x}$ and {0}. What is 1+1? {input} %s"
    path.write_text(Task(id="1", prompt=prompt, answer="2").to_json() + "\n")
    report = evaluate_math(
        MathEval(tasks=str(path), model="sums", base_url=base_url, out=tmp_path / "r", prompt="boxed")
    )
    assert report.average is not None
    assert report.average.value == 1
    assert next(iter(seen(base_url))).startswith(prompt)


def test_an_agent_of_ones_own(tasks: Path, tmp_path: Path) -> None:
    class Adder:
        name = "adder"

        def reset(self, *, seed: int | None = None) -> None: ...

        async def act(self, observation: str) -> Reply:
            first, second = re.findall("[0-9]+", observation)
            return Reply(text=rf"\boxed{{{int(first) + int(second)}}}")

    config = MathEval(policy="none", model="adder", tasks=str(tasks), out=tmp_path / "run")
    report = evaluate_math(config, make_agent=Adder)
    assert report.average is not None
    assert report.average.value == 0.9
    assert {line.trajectory.agent for line in lines(tmp_path / "run")} == {"adder"}


def test_two_tasks_of_one_id(tmp_path: Path) -> None:
    from stepgym.evals.playing import plan

    with pytest.raises(TaskError, match="two tasks have the id 'b'"):
        list(plan([Task(id=i, prompt="p", answer="1") for i in "abb"], samples=1, seed=0))


def test_gold_answers_solve_real_problems(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPGYM_DATA", str(data_dir))
    report = evaluate_math(MathEval(policy="gold", tasks="aime24", out=tmp_path / "run"))
    assert (report.task_count, report.graded) == (30, 30)
    assert report.average is not None
    assert report.average.value == 1.0


def test_in_a_notebook_where_a_loop_is_running(tasks: Path, tmp_path: Path) -> None:
    async def cell() -> float:
        report = evaluate_math(gold(tasks, tmp_path / "run"))
        assert report.average is not None
        return report.average.value

    assert asyncio.run(cell()) == 1.0


def test_settings_that_cannot_work_leave_no_folder(tasks: Path, tmp_path: Path) -> None:
    for settings in ({"temperature": -1.0}, {"top_p": 7.0}):
        with pytest.raises(ConfigError, match="temperature must not be negative, top_p"):
            evaluate_math(gold(tasks, tmp_path / "run", **settings))
    assert not (tmp_path / "run").exists()


def test_rescoring_refuses_the_folder_of_another_command_unchanged(tasks: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = run("rollout", "stepgym/Math-v0", "--tasks", tasks, "--policy", "gold", "--limit", 3, "--out", out)
    assert done.returncode == 0, done.stderr
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(ConfigError, match=r"config\.json: settings: no field named 'env'"):
        rescore_math(out, grader="math")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    (out / "config.json").write_text("{}")
    with pytest.raises(StoreError, match="task_count is missing"):
        rescore_math(out, grader="math")
