"""Runs a study: its jobs in worker processes, warm starts first, and then its report."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stepgym.codec import encode
from stepgym.errors import ConfigError
from stepgym.store import JsonLines, write_whole
from stepgym.trainers.studies.job import Job
from stepgym.trainers.studies.material import write_helped, write_material
from stepgym.trainers.studies.page import write_page
from stepgym.trainers.studies.planning import helped_file, jobs_of, material_file, rehearsal_file
from stepgym.trainers.studies.plot import draw
from stepgym.trainers.studies.pool import Failure, Pool
from stepgym.trainers.studies.report import Report, make_report
from stepgym.trainers.studies.results import Outcome, Results
from stepgym.trainers.studies.study import Study

SEEDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A study that has run."""

    folder: Path
    report: Report
    failures: tuple[Failure, ...]
    """Runs that did not end well, and those that needed them."""


def run_study(study: Study, folder: Path, *, seeds: int = SEEDS, workers: int | None = None) -> Finished:
    """Run what is missing, and write ``study.json``, ``study.png`` and ``report.html`` into `folder`.

    `workers` runs go on at a time, each in a process of its own; as many as there are cores by default. Safe to kill:
    the same call goes on, and finished runs are not repeated. Raises `StoreError` for a folder of another study, or one
    that is being written, `ConfigError`, and `KeyboardInterrupt` once the runs in progress are saved. When runs began
    and ended stands in ``events.jsonl``, what each was told, came to and said in its own folder.
    """
    at_a_time = cores() if workers is None else workers
    if min(seeds, at_a_time) < 1:
        raise ConfigError(f"seeds and workers must be at least 1, not {min(seeds, at_a_time)}")
    jobs = jobs_of(study, range(seeds), folder)
    with JsonLines(folder / "events.jsonl") as events:
        for job in jobs:
            job.claim()
        for start in study.starts:
            write_material(material_file(folder, start.name), start.mix, study.problem)
            write_material(rehearsal_file(folder, start.name), replace(start.mix, guessed=0), study.problem)
        if any(arm.helped for arm in study.arms):
            write_helped(helped_file(folder), study.problem)
        failures = Pool(at_a_time, title=f"study {study.name}", events=events).run(jobs)
        report = _write_reports(results_of(study, jobs), folder, failures)
    return Finished(folder=folder, report=report, failures=tuple(failures))


def results_of(study: Study, jobs: Sequence[Job]) -> Results:
    """The outcomes of the jobs that are finished."""
    outcomes: dict[str, dict[int, Outcome]] = {}
    for job in jobs:
        if (outcome := job.outcome) is not None:
            outcomes.setdefault(job.name, {})[job.seed] = outcome
    return Results(study, outcomes)


def _write_reports(results: Results, folder: Path, failures: Sequence[Failure]) -> Report:
    report, picture = make_report(results, failures), draw(results)
    write_whole(folder / "study.json", json.dumps(encode(report), indent=2, ensure_ascii=False) + "\n")
    (folder / "study.png").write_bytes(picture)
    write_page(folder / "report.html", report, results.study, picture)
    return report


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
