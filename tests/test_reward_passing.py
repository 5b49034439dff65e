"""pass@k: the estimator, and the reward of a solver's success."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from stepgym.errors import ConfigError, TaskError
from stepgym.records import Attempt, Score, Status, Task
from stepgym.rewards import PassAtK, SequenceSimilarity
from stepgym.rewards.passing import pass_at_k

TASK = Task(id="t", prompt="p", answer="2")


def test_the_estimator_is_the_share_of_k_subsets_with_a_correct_sample() -> None:
    for n in range(1, 8):
        for correct, k in itertools.product(range(n + 1), range(1, n + 1)):
            subsets = list(itertools.combinations(range(n), k))
            share = sum(min(subset) < correct for subset in subsets) / len(subsets)
            assert pass_at_k(n, correct, k) == pytest.approx(share, abs=1e-12)


def test_the_estimator_has_the_published_form_and_does_not_overflow() -> None:
    assert pass_at_k(200, 10, 10) == pytest.approx(1 - math.comb(190, 10) / math.comb(200, 10), abs=1e-12)
    assert pass_at_k(10, 0, 10) == 0.0
    assert pass_at_k(10, 1, 10) == 1.0
    assert 0 < pass_at_k(100_000, 3, 1_000) < 1


@pytest.mark.parametrize(("n", "correct", "k"), [(4, 1, 5), (4, 5, 1), (4, -1, 1), (4, 1, 0), (0, 0, 1)])
def test_numbers_that_make_no_sense_are_refused(n: int, correct: int, k: int) -> None:
    with pytest.raises(ConfigError, match="pass@"):
        pass_at_k(n, correct, k)


def verdict(attempt: Attempt) -> Score:
    """Grades "yes" and "no", and cannot tell of anything else."""
    if attempt.text not in ("yes", "no"):
        return Score.ungraded("cannot tell", Status.TIMEOUT)
    return Score(float(attempt.text == "yes"))


@dataclass(frozen=True)
class Solver:
    """Gives the answers that the sub-questions ask for, one a line."""

    def __call__(self, attempt: Attempt) -> Sequence[Attempt]:
        return [Attempt(task=attempt.task, text=line) for line in attempt.text.split()]


@pytest.mark.parametrize(
    ("k", "samples", "value"),
    [
        (None, "no no yes", 1.0),
        (None, "no no no", 0.0),
        (None, "no ? yes", 1.0),
        (None, "no ? no", math.nan),
        (None, "", math.nan),
        (1, "no yes no no", 0.25),
        (2, "no yes no no", 0.5),
        (2, "no yes ? no", pass_at_k(3, 1, 2)),
        (3, "no yes ?", math.nan),
    ],
)
def test_a_solvers_success(k: int | None, samples: str, value: float) -> None:
    score = PassAtK(verdict, Solver(), k=k)(Attempt(task=TASK, text=samples))
    assert score.value == pytest.approx(value, nan_ok=True)
    assert score.graded == (not math.isnan(value))
    assert score.parts == {
        "samples": len(samples.split()),
        "graded": len([s for s in samples.split() if s != "?"]),
        "passed": samples.count("yes"),
    }
    assert score.why


def test_the_threshold_says_what_passes() -> None:
    expert = Task(id="t", prompt="p", steps=("abcd",))
    samples = [Attempt(task=expert, text="abxx")]
    assert PassAtK(SequenceSimilarity(), Solver()).judge(samples).value == 0.0
    assert PassAtK(SequenceSimilarity(), Solver(), threshold=0.5).judge(samples).value == 1.0


def test_the_samples_reward_checks_the_task_and_k_is_positive() -> None:
    with pytest.raises(TaskError):
        PassAtK(SequenceSimilarity(), Solver()).check_task(TASK)
    with pytest.raises(ConfigError, match="at least 1"):
        PassAtK(verdict, Solver(), k=0)
