"""Rewards made of rewards: values, logged parts, and what happens where a member cannot grade."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest

from stepgym.errors import ConfigError, RewardError, TaskError
from stepgym.records import Attempt, Score, Status, Task
from stepgym.rewards import FirstThatApplies, Format, Product, SequenceSimilarity, WeightedSum, check_task

PLAIN = Task(id="plain", prompt="p")
STEPS = Task(id="steps", prompt="p", steps=("1. Add",))
ATTEMPT = Attempt(task=PLAIN, text="x")


@dataclass
class Fixed:
    """Gives one score, and counts how often it was asked."""

    score: Score
    asked: int = field(default=0)

    def __call__(self, attempt: Attempt) -> Score:
        self.asked += 1
        return self.score


def graded(value: float) -> Fixed:
    return Fixed(Score(value, {"inner": value + 1}, why=f"is {value}"))


def timed_out() -> Fixed:
    return Fixed(Score.ungraded("too slow", Status.TIMEOUT))


def broken(attempt: Attempt) -> Score:
    raise RewardError("no sandbox")


def test_a_product_multiplies_and_logs_its_members() -> None:
    score = Product({"format": graded(0.5), "quality": graded(3.0)})(ATTEMPT)
    assert score == Score(
        1.5,
        {"format": 0.5, "format.inner": 1.5, "quality": 3.0, "quality.inner": 4.0},
        "format: is 0.5; quality: is 3.0",
    )


def test_a_zero_settles_a_product_and_spares_the_rest() -> None:
    dear = graded(1.0)
    score = Product({"slow": timed_out(), "format": graded(0.0), "dear": dear})(ATTEMPT)
    assert (score.value, score.graded, score.why) == (0.0, True, "format: is 0.0")
    assert "slow" not in score.parts
    assert dear.asked == 0


def test_a_product_without_a_zero_is_ungraded_if_a_member_is() -> None:
    score = Product({"format": graded(1.0), "slow": timed_out()})(ATTEMPT)
    assert math.isnan(score.value)
    assert (score.status, score.why) == (Status.TIMEOUT, "slow: too slow")
    assert score.parts == {"format": 1.0, "format.inner": 2.0}


def test_a_sum_weighs_its_members() -> None:
    members = {"verifier": graded(1.0), "format": graded(0.5)}
    score = WeightedSum(members, {"verifier": 1.0, "format": -0.2})(ATTEMPT)
    assert score.value == pytest.approx(0.9)
    assert score.parts["format"] == 0.5


def test_a_sum_is_ungraded_if_a_member_that_counts_is() -> None:
    members = {"verifier": graded(1.0), "slow": timed_out()}
    counted = WeightedSum(members, {"verifier": 1.0, "slow": 0.1})(ATTEMPT)
    assert (counted.graded, counted.status) == (False, Status.TIMEOUT)
    logged = WeightedSum(members, {"verifier": 1.0, "slow": 0.0})(ATTEMPT)
    assert (logged.value, logged.graded) == (1.0, True)


@pytest.mark.parametrize(
    ("weights", "message"),
    [({"a": 1.0}, "no weight for b"), ({"a": 1.0, "bb": 1.0}, "did you mean"), ({"a": 1.0, "b": math.inf}, "finite")],
)
def test_a_sum_needs_a_weight_for_each_member(weights: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WeightedSum({"a": graded(1.0), "b": graded(1.0)}, weights)


def test_the_first_that_applies_judges() -> None:
    judged = graded(0.7)
    mixed = FirstThatApplies({"similarity": SequenceSimilarity(), "other": judged})
    assert mixed(Attempt(task=STEPS, text="1. Add")).parts == {"similarity": 1.0}
    assert judged.asked == 0
    assert mixed(ATTEMPT).value == 0.7
    mixed.check_task(PLAIN)


def test_an_ungraded_verdict_does_not_pass_to_the_next_member() -> None:
    score = FirstThatApplies({"slow": timed_out(), "other": graded(1.0)})(ATTEMPT)
    assert (score.graded, score.status, score.why) == (False, Status.TIMEOUT, "slow: too slow")


def test_no_member_that_applies_is_an_error_that_names_the_reasons() -> None:
    only = FirstThatApplies({"similarity": SequenceSimilarity()})
    for judge in (lambda: only.check_task(PLAIN), lambda: only(ATTEMPT)):
        with pytest.raises(TaskError, match=r"no reward applies to task 'plain' \(similarity: .* no expert steps"):
            judge()


def test_a_status_of_the_member_is_kept() -> None:
    wrong = Fixed(Score(0.0, status=Status.WRONG))
    score = FirstThatApplies({"verifier": wrong})(ATTEMPT)
    assert (score.status, score.why) == (Status.WRONG, "verifier: wrong")


@pytest.mark.parametrize("combined", [Product, FirstThatApplies, lambda members: WeightedSum(members, {"a": 1.0})])
def test_what_a_member_raises_goes_through(combined: type[Product]) -> None:
    with pytest.raises(RewardError, match="no sandbox"):
        combined({"a": broken})(ATTEMPT)


@pytest.mark.parametrize("combined", [Product, lambda members: WeightedSum(members, {"a": 1.0, "b": 1.0})])
def test_every_member_checks_the_task(combined: type[Product]) -> None:
    both = combined({"a": Format(), "b": SequenceSimilarity()})
    check_task(both, STEPS)
    with pytest.raises(TaskError, match="no expert steps"):
        check_task(both, PLAIN)


def test_a_combination_of_combinations_names_parts_by_their_path() -> None:
    inner = Product({"a": Format(), "b": graded(2.0)})
    assert WeightedSum({"both": inner}, {"both": 1.0})(ATTEMPT).parts == {
        "both": 2.0,
        "both.a": 1.0,
        "both.b": 2.0,
        "both.b.inner": 3.0,
    }


@pytest.mark.parametrize("combined", [Product, FirstThatApplies, lambda members: WeightedSum(members, {})])
def test_a_combination_of_nothing_is_refused(combined: type[Product]) -> None:
    with pytest.raises(ConfigError, match="at least one reward"):
        combined({})
