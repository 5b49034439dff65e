"""Software-engineering tasks: how long a verdict takes.

    python benchmarks/swe.py

Grading is timed as a person meets it: a Python that is started, imports the grader, reads a stored log of 1 MB and
gives the verdict, less a Python that is started and does nothing.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 25
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
    """Print the table."""
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


if __name__ == "__main__":
    main()
