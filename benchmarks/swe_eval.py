"""`stepgym eval swe`: how much of the machine is in test commands, and how long one evaluation takes.

    python benchmarks/swe_eval.py

Patches for copies of a shipped task are judged by 8 workers; the tests of each copy compute for about `SECONDS` first.
What the tests' processes say that they have used (``times`` of bash), over the time by the clock and all cores, is the
share of the machine that is in test commands. The named thing is the same scripts run by subprocesses, in no sandbox;
both run in turn, and the best round of each counts, since what else the machine does is taken from both. Then one gold
evaluation, from the start of the command to its end, beside the tests' own script.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from stepgym.codec import encode
from stepgym.evals.swe import SWEEval, evaluate_swe
from stepgym.evals.swe_predictions import Prediction, write_predictions
from stepgym.evals.swe_validation import UNTOUCHED
from stepgym.records import Task
from stepgym.rewards.swe.repository import checkout
from stepgym.tasks import load
from stepgym.tasks.swe import KEY, instance_of

COPIES = 16
ROUNDS = 3
WORKERS = 8
SECONDS = 2.0
NAME = "swe-small__pager"
BUSY = f"""python3 -c 'import time
while time.process_time() < {SECONDS}: sum(range(10000))'; python3 -m unittest"""


def main() -> None:
    """Print the table."""
    task = next(task for task in load("swe-small") if task.id == NAME)
    tasks = [copy(task, number) for number in range(COPIES)]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        print(f"{COPIES} tasks whose tests compute {SECONDS:g} s, {WORKERS} at a time on {cores()} cores")
        rounds = [(bare(tasks), judged(tasks, folder / f"round-{number}")) for number in range(ROUNDS)]
        floor, share = (max(each) for each in zip(*rounds, strict=True))
        print(f"{'in subprocesses, no sandbox':44}{100 * floor:7.1f} % of the cores in test commands{1:8.2f}x")
        print(f"{'stepgym eval swe':44}{100 * share:7.1f} % of the cores in test commands{share / floor:8.2f}x")
        script = min(timed(task) for _ in range(5))
        command = min(evaluated(folder / f"one-{number}") for number in range(5))
        print(f"{'one gold evaluation, its script alone':44}{script:7.2f} s{1:8.2f}x")
        print(f"{'one gold evaluation, the whole command':44}{command:7.2f} s{command / script:8.2f}x")


def cores() -> int:
    """How many there are for us."""
    return len(os.sched_getaffinity(0))


def copy(task: Task, number: int) -> Task:
    """The task under another id, with tests that compute, and with what they used at the end of their log."""
    instance = instance_of(task)
    script = instance.eval_script.replace("python3 -m unittest", BUSY) + "times\n"
    about = encode(replace(instance, eval_script=script))
    return replace(task, id=f"copy-{number}", prompt=f"{task.prompt} ({number})", meta={KEY: about})


def judged(tasks: Sequence[Task], folder: Path) -> float:
    """The share of the cores that is in test commands while patches are judged."""
    folder.mkdir()
    (folder / "tasks.jsonl").write_text("".join(task.to_json() + "\n" for task in tasks))
    write_predictions(folder / "preds.json", [Prediction(task=each.id, model="m", patch=UNTOUCHED) for each in tasks])
    config = SWEEval(
        tasks=str(folder / "tasks.jsonl"), predictions=folder / "preds.json", out=folder / "run", workers=WORKERS
    )
    begun = time.perf_counter()
    report = evaluate_swe(config)
    seconds = time.perf_counter() - begun
    assert (report.unresolved, report.empty) == (len(tasks), 0), report.broken
    logs = [(folder / "run" / "instances" / task.id / "test_output.txt").read_text() for task in tasks]
    return sum(map(used, logs)) / (cores() * seconds)


def bare(tasks: Sequence[Task]) -> float:
    """The same for the scripts alone."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(WORKERS) as threads:
        logs = list(threads.map(scripted, tasks))
    return sum(map(used, logs)) / (cores() * (time.perf_counter() - begun))


def scripted(task: Task) -> str:
    """What the task's script prints, in a copy of the repository and no sandbox."""
    instance = instance_of(task)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "repository"
        shutil.copytree(checkout(instance.source), folder)
        script = instance.eval_script.replace(instance.workdir, str(folder))
        environment = {**os.environ, "HOME": made}  # the script writes git's settings
        done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=False)
        return done.stdout


def used(log: str) -> float:
    """Seconds of CPU time, of the last line of ``times``: the children's."""
    minutes = re.findall(r"^(\d+)m([\d.]+)s (\d+)m([\d.]+)s$", log, re.MULTILINE)[-1]
    user, system = (60 * float(minutes[at]) + float(minutes[at + 1]) for at in (0, 2))
    return user + system


def timed(task: Task) -> float:
    """Seconds of the script alone."""
    begun = time.perf_counter()
    scripted(task)
    return time.perf_counter() - begun


def evaluated(out: Path) -> float:
    """Seconds of the command."""
    words = ["eval", "swe", "--agent", "gold", "--ids", NAME, "--out", str(out)]
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "stepgym.cli", *words], check=True, capture_output=True)
    seconds = time.perf_counter() - begun
    assert json.loads((out / "report.json").read_text())["strict"] == 1
    return seconds


if __name__ == "__main__":
    main()
