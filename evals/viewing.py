"""`stepgym view`: a run as one self-contained HTML page, or one trajectory as plain text.

Everything in a trajectory is untrusted. On the page it is escaped, under a content policy that allows no request and no
script but the page's own; for the terminal control characters are made visible.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from stepgym.codec import decode
from stepgym.errors import ConfigError, StoreError
from stepgym.evals.page import Card, Row, card, page
from stepgym.evals.report import Estimate, MathReport
from stepgym.evals.run_folder import Place
from stepgym.evals.swe_instances import InstanceFolder
from stepgym.evals.swe_report import SWEReport
from stepgym.records import Stop, Trajectory
from stepgym.registry import unknown
from stepgym.store import write_whole
from stepgym.trajectories import StoredTrajectory, read_trajectories

MAX_PAGE = 24 * 2**20
"""Characters of episodes on a page; a browser still opens that at once."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(slots=True)
class Totals:
    """Counts over all episodes, those included that the page has no room for."""

    episodes: int = 0
    graded: int = 0
    reward: float = 0.0
    failed: int = 0
    ungraded: int = 0
    tokens: int = 0

    def add(self, trajectory: Trajectory) -> None:
        """Count one more."""
        self.episodes += 1
        self.failed += trajectory.stop is Stop.ERROR
        self.ungraded += trajectory.stop is Stop.UNGRADED
        self.tokens += trajectory.usage.completion_tokens
        if trajectory.graded:
            self.graded, self.reward = self.graded + 1, self.reward + trajectory.reward

    def rows(self) -> list[Row]:
        """For the top of the page."""
        mean = f"{self.reward / self.graded:.3f}" if self.graded else "–"
        return [
            Row("mean reward", mean),
            Row("episodes", f"{self.episodes:,}"),
            Row("not gradable", f"{self.ungraded:,}"),
            Row("failed", f"{self.failed:,}"),
            Row("tokens written", f"{self.tokens:,}"),
        ]


def write_page(run: Path, out: Path | None, *, limit: int) -> Path:
    """Write the page of the run folder or trajectory file `run`, and return its path. Raises `StoreError`.

    It shows `limit` episodes at most, and about `MAX_PAGE` characters of them; the totals are over all.
    """
    file = _trajectory_file(run)
    cards: dict[Place, Card] = {}
    totals, size = Totals(), 0
    again = _repeated_failures(file)
    for number, line in enumerate(read_trajectories(file)):
        if number in again:
            continue
        totals.add(line.trajectory)
        if len(cards) < limit and size < MAX_PAGE:
            kept = InstanceFolder(file.parent, line.trajectory.task.id).shown()
            made = cards[Place(line.trajectory.task.id, line.sample)] = card(
                line, [Row(*each) for each in kept.items()]
            )
            size += len(made.html)
    out = out or file.with_name("view.html")
    title = file.resolve().parent.name
    text = page(
        title, totals.rows(), _results(file.with_name("report.json")), list(cards.values()), episodes=totals.episodes
    )
    write_whole(out, text)
    return out


def find_trajectory(run: Path, task: str, sample: int) -> StoredTrajectory:
    """One episode of a run, its last try. Raises `UnknownNameError` if there is none."""
    found, names, samples = None, set(), set()
    for line in read_trajectories(_trajectory_file(run)):
        names.add(line.trajectory.task.id)
        if line.trajectory.task.id == task:
            samples.add(str(line.sample))
            found = line if line.sample == sample else found
    if found is None:
        if samples:
            raise unknown(f"sample of {task!r}", str(sample), samples)
        raise unknown("task in this run", task, names)
    return found


def text_of(line: StoredTrajectory) -> str:
    """An episode for reading on a terminal."""
    trajectory = line.trajectory
    parts = [f"task {trajectory.task.id}, sample {line.sample}, {trajectory.stop}, reward {trajectory.reward:g}"]
    for number, step in enumerate(trajectory.steps, start=1):
        score = f"{step.score.status}, {step.score.value:g}" + (f": {step.score.why}" if step.score.why else "")
        parts += [f"--- step {number}: seen", step.observation, "--- reply", step.reply.text, f"--- {score}"]
    parts += ["--- gold answer", trajectory.task.answer] if trajectory.task.answer else []
    parts += ["--- error", trajectory.error] if trajectory.error else []
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", "\n".join(parts))


def _trajectory_file(run: Path) -> Path:
    file = run / "trajectories.jsonl" if run.is_dir() else run
    if not file.exists():
        raise StoreError(f"{file} does not exist; give the folder of a run, or a trajectory file")
    return file


def _repeated_failures(file: Path) -> set[int]:
    """Numbers of the lines that were played again later."""
    failed: dict[Place, int] = {}
    again: set[int] = set()
    for number, line in enumerate(read_trajectories(file)):
        place = Place(line.trajectory.task.id, line.sample)
        if place in failed:
            again.add(failed.pop(place))
        if line.trajectory.stop is Stop.ERROR:
            failed[place] = number
    return again


def _results(file: Path) -> list[Row]:
    """The estimates of an evaluation's report, if there is one of a kind we know."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    try:
        return _swe_results(decode(SWEReport, value))
    except ConfigError:
        pass
    try:
        report = decode(MathReport, value)
    except ConfigError:
        return []
    estimates: list[tuple[str, Estimate | None]] = [(f"avg@{report.samples}", report.average)]
    estimates += [(f"pass@{entry.k}", entry.estimate) for entry in report.pass_at]
    estimates += [(f"maj@{report.samples}", report.majority)]
    rows = [Row("tasks", report.tasks), Row("policy", f"{report.policy} {report.model}"), Row("grader", report.grader)]
    return rows + [Row(name, str(estimate).strip()) for name, estimate in estimates if estimate]


def _swe_results(report: SWEReport) -> list[Row]:
    graded = report.resolved + report.unresolved
    return [
        Row("tasks", report.tasks),
        Row("agent", report.agent),
        Row("resolved", f"{report.resolved} of {graded}, {str(report.resolved_rate or '').strip()}"),
        Row("strict", f"{report.strict} of {graded - report.open}, {str(report.strict_rate or '').strip()}"),
        Row("without a verdict", f"{len(report.broken)}"),
    ]
