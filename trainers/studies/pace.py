"""How far a study is, and how long it will take: a line on stderr now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from stepgym.trainers.studies.job import Job
from stepgym.trainers.studies.planning import estimate

EVERY = 15.0
"""Seconds between lines, unless something happens."""


class Pace:
    """Counts work in estimated seconds, and learns from the clock how long one of these is."""

    def __init__(self, title: str, jobs: Sequence[Job], left: Sequence[Job]) -> None:
        self.title, self.total, self.finished = title, len(jobs), len(jobs) - len(left)
        self.failed = 0
        self.work = {job.folder: estimate(job) for job in left}
        """Of the jobs that are not finished."""
        self.all_work = sum(self.work.values())
        self.begun: dict[Path, Job] = {}
        self.at_first: dict[Path, float] = {}
        self.skipped = 0.0
        """Work that was done before, in runs that go on."""
        self.clock = self.said = time.monotonic()

    @property
    def due(self) -> float:
        """Seconds until the next line."""
        return max(0.1, self.said + EVERY - time.monotonic())

    def started(self, job: Job) -> None:
        """A job is being run."""
        self.begun[job.folder] = job
        self.at_first[job.folder] = self._done(job)
        self.skipped += self.at_first[job.folder]

    def ended(self, job: Job, why: str = "") -> None:
        """A job was finished, or failed for a reason."""
        self.begun.pop(job.folder, None)
        self.work.pop(job.folder, None)
        self.finished, self.failed = self.finished + (not why), self.failed + bool(why)
        self.say(f"{job.title} {f'failed: {why}' if why else 'finished'}")

    def say(self, news: str = "") -> None:
        """Print how it goes."""
        self.said = time.monotonic()
        left = self.left()
        running = ", ".join(f"{job.title} {job.steps_done}/{_steps(job)}" for job in self.begun.values())
        parts = [
            f"{self.title}: {self.finished}/{self.total} runs",
            f"{self.failed} failed" if self.failed else "",
            f"{self.said - self.clock:.0f} s",
            f"about {_rough(left)} left" if left else "",
            news or (f"running {running}" if running else ""),
        ]
        sys.stderr.write(", ".join(filter(None, parts)) + "\n")
        sys.stderr.flush()

    def left(self) -> float:
        """Seconds to go, if the rest takes its time as what is done did; an estimate by size before anything is."""
        remaining = sum(self.work.values()) - sum(self._done(job) for job in self.begun.values())
        done = self.all_work - self.skipped - remaining
        seconds = time.monotonic() - self.clock
        return max(0.0, remaining) * (seconds / done if done > 0 else 1.0)

    def _done(self, job: Job) -> float:
        return self.work[job.folder] * min(1.0, job.steps_done / _steps(job))


def _steps(job: Job) -> int:
    return sum(stage.steps for stage in job.stages)


def _rough(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
