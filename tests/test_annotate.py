"""`stepgym annotate` as people run it: a process, a real endpoint, kills and interruptions, files that load."""

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepgym.agents.annotating import Annotation, annotate
from stepgym.agents.guide import Guide
from stepgym.errors import ConfigError, StoreError, TaskError
from stepgym.records import Task
from stepgym.tasks import load

SERVER = Path(__file__).with_name("endpoint_server.py")
COUNT = 40
HINT = "Begin with the last digits."


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with subprocess.Popen([sys.executable, SERVER], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        process.kill()


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """Sums; the tutor needs a second try for every fourth, and leaks every eighth. Task 5 has a hint already."""
    numbers = range(100, 100 + COUNT)
    hints = {105: "Think of dozens."}
    rows = [Task(id=f"t{n}", prompt=f"What is {n}+{n}?", answer=str(2 * n), hint=hints.get(n, "")) for n in numbers]
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(row.to_json() + "\n" for row in rows))
    return path


def command(kind: str, tasks: object, out: Path, model: str, base_url: str, *words: object) -> list[str]:
    line = ("annotate", kind, tasks, "--out", out, "--model", model, "--base-url", base_url, *words)
    return [sys.executable, "-W", "error", "-m", "stepgym.cli", *map(str, line)]


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), capture_output=True, text=True, timeout=60)  # type: ignore[arg-type]


def requests(base_url: str, model: str) -> int:
    with urllib.request.urlopen(base_url) as response:
        return int(json.load(response)["requests"].get(model, 0))


def wait_for_lines(path: Path, count: int) -> None:
    for _ in range(3000):
        if path.exists() and path.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.01)
    raise AssertionError("the work does not get on")


def assert_complete(out: Path, tasks: Path) -> None:
    """Every task in its place with all it had; a hint where one was to be got, and else the reason why not."""
    for source, task in zip(load(tasks), load(out), strict=True):
        assert (task.id, task.prompt, task.answer) == (source.id, source.prompt, source.answer)
        if source.hint:
            assert task == source
        elif int(task.id[1:]) % 8 == 7:
            assert (task.hint, task.meta) == ("", {"hint_rejected": "gives the answer away"})
        else:
            assert (task.hint, task.meta) == (HINT, {})


def test_every_task_gets_a_hint_or_a_reason(tasks: Path, base_url: str, tmp_path: Path) -> None:
    out = tmp_path / "hints.jsonl"
    asked = requests(base_url, "tutor")
    done = run("hints", tasks, out, "tutor", base_url, "--completion-price", 1000)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "hints: 34 written, 1 kept, 5 rejected, 0 failed",
        "  5 rejected: gives the answer away",
        # 29 at the first try, 5 at the second, 5 three times in vain: five tokens each
        "540 tokens read, 270 written, 0.27 dollars",
        str(out),
    ]
    assert "annotate hint: 40/40" in done.stderr
    assert "34 written, 5 rejected, 0 failed" in done.stderr
    assert_complete(out, tasks)
    assert requests(base_url, "tutor") - asked == 29 + 5 * 2 + 5 * 3
    content = out.read_bytes()
    again = run("hints", tasks, out, "tutor", base_url)  # nothing is left to do
    assert again.returncode == 0
    assert again.stdout.startswith("hints: 34 written, 1 kept, 5 rejected, 0 failed\n  5 rejected: gives")
    assert requests(base_url, "tutor") - asked == 54
    assert out.read_bytes() == content


def test_kill_at_any_moment_loses_nothing_and_does_nothing_twice(tasks: Path, base_url: str, tmp_path: Path) -> None:
    out = tmp_path / "hints.jsonl"
    asked = requests(base_url, "tutor")
    words = command("hints", tasks, out, "tutor", base_url, "--concurrency", 3)
    for kept in (4, 15, 25):
        with subprocess.Popen(words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
            wait_for_lines(out, kept)
            process.send_signal(signal.SIGKILL)
    before = load(out)
    assert 25 <= len(before) < COUNT - 1
    with out.open("ab") as file:
        file.write(b'{"id": "t13')  # a line torn by the kill
    done = run("hints", tasks, out, "tutor", base_url, "--concurrency", 8)
    assert done.returncode == 0, done.stderr
    assert "34 written, 1 kept, 5 rejected, 0 failed" in done.stdout
    assert_complete(out, tasks)
    assert set(before) <= set(load(out))
    # Asked again was only what a kill caught under way: three tasks at a time, three times, at most three tries each.
    assert requests(base_url, "tutor") - asked <= 54 + 27


def test_an_interrupted_run_leaves_a_file_that_loads_and_says_how_to_go_on(
    tasks: Path, base_url: str, tmp_path: Path
) -> None:
    out = tmp_path / "hints.jsonl"
    words = command("hints", tasks, out, "tutor", base_url, "--concurrency", 2)
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        wait_for_lines(out, 5)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr is not None
        said = process.stderr.read()
    assert f"{out} keeps what is finished; the same command goes on from there" in said
    assert "Traceback" not in said
    assert 5 <= len(load(out)) < COUNT - 1
    assert run("hints", tasks, out, "tutor", base_url).returncode == 0
    assert_complete(out, tasks)


def test_replace_writes_what_is_there_already(tasks: Path, base_url: str, tmp_path: Path) -> None:
    done = run("hints", tasks, tmp_path / "hints.jsonl", "tutor", base_url, "--replace", "--limit", 6)
    assert "hints: 5 written, 0 kept, 1 rejected" in done.stdout
    hints = {task.id: task.hint for task in load(tmp_path / "hints.jsonl")}
    assert hints["t105"] == HINT


def test_without_feedback_the_same_question_is_asked_again(tasks: Path, base_url: str, tmp_path: Path) -> None:
    done = run("hints", tasks, tmp_path / "hints.jsonl", "tutor", base_url, "--no-feedback")
    assert "hints: 29 written, 1 kept, 10 rejected" in done.stdout  # this tutor repeats itself


def test_failed_tasks_are_left_out_and_tried_again(tasks: Path, base_url: str, tmp_path: Path) -> None:
    out = tmp_path / "hints.jsonl"
    words = ("hints", tasks, out, "moody-tutor", base_url, "--retries", 0, "--limit", 8)
    first = run(*words)
    assert first.returncode == 0, first.stderr
    assert "hints: 6 written, 1 kept, 0 rejected, 1 failed" in first.stdout
    assert [task.id for task in load(out)] == ["t100", *(f"t{number}" for number in range(102, 108))]
    assert "1 of 8 tasks failed, one with: http" in first.stderr
    assert "HTTP 500: 'oops'; the same command tries them again" in first.stderr
    assert "1 failed" in run(*words).stdout  # it fails a second time, and then no more
    third = run(*words)
    assert "hints: 7 written, 1 kept, 0 rejected, 0 failed" in third.stdout
    assert third.stderr.count("\n") == 1  # the progress
    assert [task.id for task in load(out)] == [f"t{number}" for number in range(100, 108)]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("broken", "stopped after 5 failures in a row; the last: http://"),
        ("refused", "stopped after 5 failures in a row; the last: http://"),
        ("empty-handed", "no task of {tasks} was given hints; see the reasons above"),
    ],
)
def test_nothing_written_is_an_error(tasks: Path, base_url: str, tmp_path: Path, model: str, message: str) -> None:
    out = tmp_path / "hints.jsonl"
    tasks.write_text("".join(line for line in tasks.read_text().splitlines(keepends=True) if "dozens" not in line))
    done = run("hints", tasks, out, model, base_url, "--retries", 0, "--patience", 5, "--tries", 1)
    assert done.returncode == 2
    assert f"stepgym: {message.format(tasks=tasks)}" in done.stderr
    assert "Traceback" not in done.stderr
    if model == "empty-handed":
        assert f"{COUNT - 1} rejected: empty" in done.stdout


def test_a_file_belongs_to_one_piece_of_work(tasks: Path, base_url: str, tmp_path: Path) -> None:
    out = tmp_path / "hints.jsonl"
    settings = {"tasks": str(tasks), "out": out, "model": "tutor", "base_url": base_url, "limit": 3}
    summary = annotate(Annotation(**settings), Guide())  # type: ignore[arg-type]
    assert (summary.written, summary.kept, summary.failed, summary.rejected) == (3, 0, 0, Counter())
    for changed, message in [
        ({"model": "echo"}, r'was made with model = "tutor", not "echo"; use the same settings to go on'),
        ({"limit": 5}, r"was made with limit = 3, not 5"),
        ({"temperature": 0.5}, r"was made with temperature = 1.0, not 0.5"),
    ]:
        with pytest.raises(StoreError, match=message):
            annotate(Annotation(**settings | changed), Guide())  # type: ignore[arg-type]
    tasks.write_text(tasks.read_text().replace("What is 101+101?", "What is 102+102?"))
    with pytest.raises(StoreError, match="tasks_digest"):
        annotate(Annotation(**settings), Guide())  # type: ignore[arg-type]
    with pytest.raises(StoreError, match=r"exists, and sums\.settings\.json, which would say"):
        annotate(Annotation(**settings | {"out": tasks}), Guide())  # type: ignore[arg-type]
    assert len(load(tasks)) == COUNT


def test_a_damaged_file_is_named(tasks: Path, base_url: str, tmp_path: Path) -> None:
    out = tmp_path / "hints.jsonl"
    config = Annotation(tasks=str(tasks), out=out, model="tutor", base_url=base_url, limit=2)
    annotate(config, Guide())
    content = out.read_text()
    for line, message in [("[1]\n", ":3: task: expected a table"), ('{"id": "x", "prompt": "p"}\n', "'x' is no task")]:
        out.write_text(content + line)
        with pytest.raises(StoreError, match=message):
            annotate(config, Guide())


def test_bad_settings_leave_no_file(tasks: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "hints.jsonl"
    with pytest.raises(ConfigError, match="needs the setting 'model'"):
        annotate(Annotation(tasks=str(tasks), out=out), Guide())
    with pytest.raises(ConfigError, match="tries must be at least 1"):
        annotate(Annotation(tasks=str(tasks), out=out, model="m", tries=0), Guide())
    with pytest.raises(ConfigError, match=r"must end in \.jsonl"):
        annotate(Annotation(tasks=str(tasks), out=tmp_path / "new" / "hints.json", model="m"), Guide())
    with pytest.raises(TaskError, match=r"nowhere\.jsonl: cannot be read"):
        annotate(Annotation(tasks="nowhere.jsonl", out=out, model="m"), Guide())
    assert not out.parent.exists()


def test_subquestions_and_steps(tmp_path: Path, base_url: str) -> None:
    """The echo says what it was told: a template that is itself a decomposition, and a solution in the right form."""
    out = tmp_path / "decomposed.jsonl"
    template = "<subquestion>What is asked in: {prompt}<subquestion>Which {rule} helps?"
    done = run("subquestions", "aime25", out, "echo", base_url, "--limit", 1, "--template", "no place")
    assert done.returncode == 2
    assert "lacks the placeholder {prompt}" in done.stderr
    words = ("subquestions", "arithmetic?count=3", out, "echo", base_url, "--template", template)
    assert run(*words, "--replace").returncode == 0
    for task in load(out):
        assert task.subquestions == (f"What is asked in: {task.prompt}", "Which {rule} helps?")
    rewritten = tmp_path / "steps.jsonl"
    done = run("steps", "arithmetic?count=3", rewritten, "echo", base_url, "--replace")
    assert done.returncode == 2
    assert "3 rejected: fewer than two numbered, titled steps" in done.stdout
