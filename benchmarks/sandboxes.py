"""What a sandbox costs beside `subprocess.run(["bash", "-c", "echo hi"])`, which is measured in turn with it.

    python benchmarks/sandboxes.py

"Usable" is the end of a first command. What a snapshot keeps is one file of 5 MB. Docker's rows are left out where no
engine can be reached.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from stepgym.errors import StepgymError
from stepgym.sandboxes import Sandbox, make

T = TypeVar("T")

COMMANDS = 100
"""Rounds of commands."""
THREADS = 8


class Row(StrEnum):
    """What is measured."""

    EXEC = "exec `echo hi`"
    START = "start to usable"
    RESET = "reset to usable"
    SNAPSHOT = "snapshot"
    FORK = "fork to usable"
    CLOSE = "close"
    RATE = f"start + command + close, {THREADS} threads"


@dataclass(frozen=True, slots=True)
class Case:
    """A back end, and what it must reach: at most so many times the floor, at least so many in a second."""

    backend: str
    lives: int
    """Rounds of start, reset, snapshot and fork."""
    throughput: int
    """Sandboxes of the last row."""
    bars: dict[Row, float]


CASES = (
    Case(
        "namespace",
        lives=50,
        throughput=240,
        bars={Row.EXEC: 0.15, Row.START: 12, Row.RESET: 16, Row.SNAPSHOT: 1, Row.FORK: 20, Row.RATE: 60},
    ),
    Case("docker", lives=15, throughput=32, bars={Row.EXEC: 0.5, Row.RATE: 4}),
)


@dataclass
class Clock:
    """Seconds of every row, and of the floor before it."""

    rows: dict[Row, list[float]] = field(default_factory=dict)
    floors: dict[Row, list[float]] = field(default_factory=dict)

    def measure(self, row: Row, work: Callable[[], T]) -> T:
        """What `work` returns; its time counts for `row`."""
        self.floors.setdefault(row, []).append(seconds(floor))
        started = time.perf_counter()
        result = work()
        self.rows.setdefault(row, []).append(time.perf_counter() - started)
        return result


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def floor() -> None:
    """A process of bash for one command: what everything is compared to."""
    subprocess.run(["bash", "-c", "echo hi"], stdout=subprocess.PIPE, check=True)


def usable(sandbox: Sandbox) -> Sandbox:
    """`sandbox`, after a command."""
    assert sandbox.exec("echo hi").output == "hi\n"
    return sandbox


def commands(case: Case, clock: Clock) -> None:
    """One command after the other in one sandbox."""
    with make(case.backend) as sandbox:
        usable(sandbox)
        for _ in range(COMMANDS):
            clock.measure(Row.EXEC, lambda: usable(sandbox))


def live(case: Case, clock: Clock) -> None:
    """One sandbox, through everything."""
    sandbox = clock.measure(Row.START, lambda: usable(make(case.backend).start()))
    sandbox.exec("head -c 5M /dev/zero > file")
    point = clock.measure(Row.SNAPSHOT, sandbox.snapshot)
    clock.measure(Row.FORK, lambda: usable(sandbox.fork(point))).close()
    sandbox.exec("head -c 5M /dev/zero > file")

    def reset() -> None:
        sandbox.reset()
        usable(sandbox)

    clock.measure(Row.RESET, reset)
    clock.measure(Row.CLOSE, sandbox.close)


def throughput(case: Case) -> float:
    """Sandboxes in a second."""

    def one(_: int) -> None:
        with make(case.backend) as sandbox:
            usable(sandbox)

    with ThreadPoolExecutor(THREADS) as threads:
        return case.throughput / seconds(lambda: list(threads.map(one, range(case.throughput))))


def measure(case: Case) -> None:
    """Print the rows of a back end."""
    try:
        with make(case.backend) as sandbox:
            usable(sandbox)
    except StepgymError as error:
        print(f"{case.backend}: left out, since {error}\n")
        return
    clock = Clock()
    commands(case, clock)
    for _ in range(case.lives):
        live(case, clock)
    rate = throughput(case)
    floors = [each for floors in clock.floors.values() for each in floors]
    print(f"{case.backend:<40} median of    ms      ratio   at most")
    print(f"  {'subprocess bash -c':<38} {len(floors):>9} {statistics.median(floors) * 1e3:>7.2f}")
    for row, times in clock.rows.items():
        median = statistics.median(times)
        ratio = median / statistics.median(clock.floors[row])
        bar = case.bars.get(row)
        said = f"{bar:>8g}  {'' if ratio <= bar else 'missed'}" if bar else ""
        print(f"  {row:<38} {len(times):>9} {median * 1e3:>7.2f} {ratio:>9.2f}× {said}")
    bar = case.bars[Row.RATE]
    print(
        f"  {Row.RATE:<38} {case.throughput:>9} {rate:>9.1f}/s   at least {bar:g}  {'' if rate >= bar else 'missed'}\n"
    )


if __name__ == "__main__":
    for case in CASES:
        measure(case)
