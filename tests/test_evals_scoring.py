"""Numbers of a report, worked out by hand."""

import math

import numpy as np
import pytest

from stepgym.evals.report import MathReport, TaskResult, format_report
from stepgym.evals.run_folder import Place
from stepgym.evals.scoring import average, bootstrap, majority, passes, tally
from stepgym.records import Reply, Score, Status, Step, Stop, Task, Trajectory, Usage
from stepgym.trajectories import StoredTrajectory


def line(task: str, sample: int, said: str, status: Status | None, **reply: object) -> StoredTrajectory:
    """One sample; a status of None is one that failed."""
    asked = Task(id=task, prompt="p", answer="1")
    if status is None:
        failed = Trajectory(task=asked, steps=(), stop=Stop.ERROR, error="PolicyError: dead")
        return StoredTrajectory(version=1, sample=sample, trajectory=failed)
    graded = status not in (Status.TIMEOUT, Status.ERROR)
    score = Score(float(status is Status.CORRECT), status=status) if graded else Score.ungraded("slow", status)
    step = Step(observation="p", reply=Reply(text=said, usage=Usage(3, 5, 0.5), **reply), score=score)  # type: ignore[arg-type]
    stop = Stop.ANSWERED if graded else Stop.UNGRADED
    return StoredTrajectory(version=1, sample=sample, trajectory=Trajectory(task=asked, steps=(step,), stop=stop))


RIGHT, WRONG = Status.CORRECT, Status.WRONG
LINES = {
    Place(task, sample): line(task, sample, said, status)
    for task, samples in {
        "a": [(r"\boxed{1}", RIGHT), (r"\boxed{ 1 }", RIGHT), (r"\boxed{2}", WRONG), (r"\boxed{3}", WRONG)],
        "b": [(r"\boxed{2}", WRONG), (r"\boxed{2}", WRONG), (r"\boxed{1}", RIGHT), ("", Status.UNPARSABLE)],
        "c": [(r"\boxed{1}", RIGHT), (r"\boxed{2}", Status.TIMEOUT), ("", None), (r"\boxed{1}", RIGHT)],
        "d": [("", Status.TIMEOUT), ("", None), ("", None), ("", None)],
    }.items()
    for sample, (said, status) in enumerate(samples)
}


def test_samples_are_counted_by_what_became_of_them() -> None:
    total = tally(LINES)
    assert (total.graded, total.ungraded, total.failed, total.unanswered, total.cut) == (10, 2, 4, 1, 0)
    assert total.results() == (TaskResult("a", 2, 4), TaskResult("b", 1, 4), TaskResult("c", 2, 2))
    assert total.usage == Usage(36, 60, 6.0)  # the twelve that have a reply


def test_averages_leave_out_what_was_not_graded() -> None:
    found = average(tally(LINES), seed=0)
    assert found is not None
    assert found.value == pytest.approx((2 / 4 + 1 / 4 + 2 / 2) / 3)  # and not / 4, with a zero for d
    assert 0.25 <= found.low < found.value < found.high <= 1


def test_pass_at_k_is_unbiased_and_needs_k_samples() -> None:
    found = {entry.k: entry.estimate.value for entry in passes(tally(LINES), samples=4, seed=0)}
    assert set(found) == {1, 2, 4}
    assert found[1] == pytest.approx((2 / 4 + 1 / 4 + 1) / 3)
    # C(2,2)/C(4,2) = 1/6 of the pairs of a are both wrong; C(3,2)/C(4,2) = 1/2 of b's; none of c's.
    assert found[2] == pytest.approx((5 / 6 + 1 / 2 + 1) / 3)
    assert found[4] == 1.0  # over a and b: c has only two graded samples


def test_the_majority_votes_on_what_the_answers_say() -> None:
    found = majority(tally(LINES), seed=0)
    assert found is not None
    assert found.value == pytest.approx((1 + 0 + 1) / 3)


def test_a_tied_vote_counts_in_part_and_no_vote_not_at_all() -> None:
    tied = {
        Place("a", i): line("a", i, rf"\boxed{{{said}}}", s) for i, (said, s) in enumerate([(1, RIGHT), (2, WRONG)])
    }
    silent = {Place("b", i): line("b", i, "", Status.UNPARSABLE) for i in range(2)}
    found = majority(tally({**tied, **silent}), seed=0)
    assert found is not None
    assert found.value == 0.25


def test_the_interval_is_that_of_the_mean_and_the_order_of_arrival_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    values = [float(value) for value in rng.random(200) < 0.3]
    found = bootstrap(values, seed=1)
    assert found is not None
    error = 1.96 * math.sqrt(found.value * (1 - found.value) / 200)
    assert found.high - found.low == pytest.approx(2 * error, rel=0.1)
    assert bootstrap(values, seed=1) == found
    assert bootstrap([], seed=1) is None
    backwards = dict(reversed(LINES.items()))
    assert average(tally(backwards), seed=3) == average(tally(LINES), seed=3)


def test_the_table_says_what_was_left_out() -> None:
    total = tally(LINES)
    report = MathReport(
        tasks="t",
        policy="openai",
        model="m",
        prompt="plain",
        grader="math",
        temperature=1.0,
        top_p=1.0,
        max_tokens=10,
        samples=4,
        task_count=5,
        unmeasured=2,
        graded=total.graded,
        ungraded=total.ungraded,
        failed=total.failed,
        missing=4,
        unanswered=1,
        cut=0,
        average=average(total, seed=0),
        pass_at=passes(total, samples=4, seed=0),
        majority=majority(total, seed=0),
        usage=total.usage,
        by_task=total.results(),
    )
    text = format_report(report)
    assert "avg@4       58.33 %" in text
    assert "maj@4       66.67 %" in text
    assert "10 of 20 samples; 2 could not be graded; 4 failed; 4 not taken; 2 tasks are left out" in text
