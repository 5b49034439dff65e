"""Software-engineering tasks: how long a verdict takes.

    python benchmarks/swe.py

Grading is timed as a person meets it: a Python that is started, imports the grader, reads a stored log of 1 MB and
gives the verdict, less a Python that is started and does nothing.

Then one evaluation of a gold patch, from the start of the command to its end, beside ``swebench eval`` on the same
instance: two releases of a package from PyPI. In an image as they are published the official harness waits 15 s for
each container's end; in one that is told to stop by SIGKILL it does not. Ours gives the strict verdict too, and for it
runs the tests twice. It is left out where there is no container engine, or no swebench can be installed.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 25
EVALUATIONS = 2
BAR = 0.35
RELEASES = ("toolz", "0.11.2", "0.12.0")
GRADE = """
import json, sys
from stepgym.evals.swe_grader import grade
row, log = sys.argv[1:]
verdict = grade(json.load(open(row)), open(log, "rb").read())
assert verdict.resolved, verdict.why
"""


def stored_run(folder: Path, size: int = 1_000_000) -> tuple[Path, Path]:
    """A row with 1,000 tests, and the log of a run of pytest in which they pass, between much other output."""
    tests = [f"tests/test_{n % 20}.py::TestCase{n % 7}::test_{n}[{n}-x]" for n in range(1000)]
    listed = "\n".join(f"PASSED {test}" for test in tests)
    head = f"+ : '>>>>> Start Test Output'\n=== test session starts ===\ncollected {len(tests)} items\n"
    foot = f"=== short test summary info ===\n{listed}\n=== 1000 passed in 9.87s ===\n+ : '>>>>> End Test Output'\n"
    noise = "  warning: the quick brown fox jumped over the lazy dog, as it has in every release since 1.0\n"
    row = {"instance_id": "a__b-1", "repo": "a/b", "FAIL_TO_PASS": tests[:5], "PASS_TO_PASS": tests[5:]}
    (folder / "row.json").write_text(json.dumps(row))
    (folder / "log.txt").write_text(head + noise * ((size - len(head) - len(foot)) // len(noise)) + foot)
    return folder / "row.json", folder / "log.txt"


def cpu_seconds(code: str, *arguments: str) -> float:
    """CPU time of a Python that runs `code`, which others on the machine disturb less than they do the clock."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code, *arguments], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def wall_seconds(code: str, *arguments: str) -> float:
    """Time by the clock of a Python that runs `code`."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, *arguments], check=True)
    return time.perf_counter() - started


def main() -> None:
    """Print the tables."""
    graded_log()
    sys.path.insert(0, str(Path(__file__).parents[1]))  # the official harness is one of the tests' oracles
    evaluations()


def graded_log() -> None:
    """Print how long a stored log takes."""
    with tempfile.TemporaryDirectory() as made:
        row, log = map(str, stored_run(Path(made)))
        print(
            f"{'a stored log of 1 MB, graded':34}{'bare Python':>14}{'with grading':>14}{'difference':>12}{'ratio':>8}"
        )
        for name, measure in (("CPU", cpu_seconds), ("wall", wall_seconds)):
            bare, graded = [], []
            for _ in range(ROUNDS):
                bare.append(measure("pass"))
                graded.append(measure(GRADE, row, log))
            least, most = min(bare) * 1000, min(graded) * 1000
            print(f"{name:34}{least:11.1f} ms{most:11.1f} ms{most - least:9.1f} ms{most / least:7.1f}x")


def evaluations() -> None:
    """Print how long one evaluation takes, by the official harness and by ours."""
    import pytest

    from tests.docker_engine import own_engine
    from tests.official_harness import Subject, evaluate, images, release, write_run
    from tests.swebench_process import swebench_python

    try:
        python = swebench_python()
        engine = own_engine()
    except (RuntimeError, pytest.skip.Exception) as error:
        print(f"one evaluation is left out: {error}")
        return
    os.environ["DOCKER_HOST"] = engine.host
    try:
        with tempfile.TemporaryDirectory() as made:
            task = release(Path(made) / "tasks.jsonl", *RELEASES)
            print(f"\n{f'one evaluation of the gold patch of {task.id}':56}{'wall':>10}{'ratio':>8}{'bar':>7}")
            kinds = (("SIGKILL", "an image that stops at once", 1), ("SIGTERM", "one as they are published", 0))
            for signal, image_is, warm_up in kinds:
                with images(engine.host, [task], stop_signal=signal) as named:
                    subject = Subject(id=task.id, task=task, image=named[task.id], patch=task.answer)
                    folder = Path(made) / signal
                    rows, predictions = write_run(folder, [subject])
                    best: dict[str, float] = {}
                    for number in range(EVALUATIONS + warm_up):
                        official = evaluate(python, engine.host, folder / f"official-{number}", [subject], workers=1)
                        assert official.summary["resolved_ids"] == [task.id]
                        outs = (folder / f"docker-{number}", folder / f"namespace-{number}")
                        took = {
                            f"swebench eval, {image_is}": official.seconds,
                            "ours, docker": ours(rows, predictions, "docker", outs[0]),
                            "ours, namespace": ours(Path(made) / "tasks.jsonl", predictions, "namespace", outs[1]),
                        }
                        if number >= warm_up:
                            best = {name: min(value, best.get(name, value)) for name, value in took.items()}
                floor = next(iter(best.values()))
                for name, value in best.items():
                    bar = f"{BAR:6.2f}x" if name.startswith("ours") else ""
                    print(f"{name:56}{value:8.2f} s{value / floor:7.2f}x{bar}")
    finally:
        engine.close()


def ours(tasks: Path, predictions: Path, sandbox: str, out: Path) -> float:
    """Seconds of `stepgym eval swe`, with both verdicts."""
    words = ["--tasks", tasks, "--predictions", predictions, "--sandbox", sandbox, "--workers", "1", "--out", out]
    begun = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "stepgym.cli", "eval", "swe", *map(str, words)], check=True, capture_output=True
    )
    seconds = time.perf_counter() - begun
    assert json.loads((out / "report.json").read_text())["strict"] == 1
    return seconds


if __name__ == "__main__":
    main()
