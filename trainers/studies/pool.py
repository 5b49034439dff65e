"""Worker processes, each with one job of a study at a time."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stepgym.store import JsonLines
from stepgym.trainers.studies.job import LOG, Job
from stepgym.trainers.studies.pace import Pace

GRACE = 60.0
"""Seconds that a run has to finish its step, and save, after Ctrl-C."""
WORKER = (sys.executable, "-m", "stepgym.trainers.studies.worker")


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that did not end well."""

    title: str
    why: str


@dataclass(slots=True)
class Worker:
    """A process, in a session of its own: Ctrl-C on the terminal reaches it through us alone, and once."""

    process: subprocess.Popen[bytes]
    job: Job | None = None

    @classmethod
    def started(cls) -> Worker:
        """One that waits for a job."""
        pipe = subprocess.PIPE
        return cls(subprocess.Popen(WORKER, stdin=pipe, stdout=pipe, bufsize=0, start_new_session=True))

    def give(self, job: Job) -> None:
        """Let it run a job."""
        assert self.process.stdin is not None
        self.job = job
        self.process.stdin.write(json.dumps(str(job.folder)).encode() + b"\n")

    def answer(self) -> str | None:
        """What went wrong with its job, "" if nothing. None if it died: it takes no further job."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line.endswith(b"\n"):
            error: str = json.loads(line)["error"]
            return error
        self.process.wait()
        return None

    def close(self) -> None:
        """End it, whatever it is doing."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.kill()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


@dataclass(slots=True)
class Pool:
    """Runs jobs, several at a time."""

    size: int
    title: str
    events: JsonLines
    """Where starts and ends are written down."""
    workers: list[Worker] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def run(self, jobs: Sequence[Job]) -> list[Failure]:
        """Run those without an outcome, each after the one that it starts from. Returns those that failed."""
        finished = {job.folder for job in jobs if job.outcome is not None}
        left = [job for job in jobs if job.folder not in finished]
        pace = Pace(self.title, jobs, left)
        try:
            while left or self._busy:
                left = self._start(left, {job.folder for job in jobs} - finished, pace)
                for worker in self._answering(pace):
                    if job := self._end(worker, pace):
                        finished.add(job.folder)
        except KeyboardInterrupt:
            self._stop()
            raise
        finally:
            for worker in self.workers:
                worker.close()
        pace.say()
        return self.failures

    @property
    def _busy(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.job is not None]

    def _start(self, left: Sequence[Job], unfinished: set[Path], pace: Pace) -> list[Job]:
        """Give jobs to free workers. Returns those that must wait, less those that wait for what will not come."""
        running = {worker.job.folder for worker in self._busy if worker.job}
        waiting = {job.folder for job in left}
        remaining = []
        for job in left:
            if job.after in unfinished and job.after not in running | waiting:
                self._fail(job, "what it starts from did not finish", pace)
            elif job.after in unfinished or len(self._busy) >= self.size:
                remaining.append(job)
            else:
                self._give(job, pace)
        return remaining

    def _give(self, job: Job, pace: Pace) -> None:
        free = next((w for w in self.workers if w.job is None and w.process.poll() is None), None)
        if free is None:
            free = Worker.started()
            self.workers.append(free)
        self.events.append({"time": time.time(), "run": job.title, "event": "started"})
        pace.started(job)
        free.give(job)

    def _answering(self, pace: Pace) -> list[Worker]:
        """The workers that have something to say; waits for one, and says how far all are in the meantime."""
        with selectors.DefaultSelector() as selector:
            for worker in self._busy:
                assert worker.process.stdout is not None
                selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
            while self._busy:
                if ready := selector.select(timeout=pace.due):
                    return [key.data for key, _ in ready]
                pace.say()
        return []

    def _end(self, worker: Worker, pace: Pace) -> Job | None:
        """Take note of a worker's answer. Returns its job if that has an outcome."""
        job, error = worker.job, worker.answer()
        assert job is not None
        worker.job = None
        if error is None:
            self.workers.remove(worker)
            worker.close()
            error = f"its process ended with code {worker.process.returncode}"
        if error:
            self._fail(job, f"{error} (see {job.folder / LOG})", pace)
            return None
        self.events.append({"time": time.time(), "run": job.title, "event": "finished"})
        pace.ended(job)
        return job

    def _fail(self, job: Job, why: str, pace: Pace) -> None:
        self.failures.append(Failure(job.title, why))
        self.events.append({"time": time.time(), "run": job.title, "event": "failed", "why": why})
        pace.ended(job, why)

    def _stop(self) -> None:
        """Let the runs in progress finish their step and save. A second Ctrl-C ends them at once."""
        sys.stderr.write("\nsaving the runs in progress; Ctrl-C again stops at once\n")
        sys.stderr.flush()
        for worker in self._busy:
            os.kill(worker.process.pid, signal.SIGINT)
        deadline = time.monotonic() + GRACE
        for worker in self._busy:
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                return
