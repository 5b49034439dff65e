"""Math-Verify as a reward, in the worker pool."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from stepgym.records import Attempt, Status, Task
from stepgym.rewards import REWARDS
from stepgym.rewards.maths.math_verify_grader import MathVerifyGrader


def grade(gold: str, text: str) -> tuple[float, Status]:
    score = MathVerifyGrader()(Attempt(task=Task(id="1", prompt="", answer=gold), text=text))
    return score.value, score.status


def test_grades_texts() -> None:
    assert isinstance(REWARDS.make("math-verify"), MathVerifyGrader)
    assert grade(r"\frac{1}{2}", r"so \boxed{0.5}") == (1.0, Status.CORRECT)
    assert grade(r"\frac{1}{2}", r"so \boxed{0.6}") == (0.0, Status.WRONG)
    assert grade("1", "") == (0.0, Status.UNPARSABLE)


def test_works_in_threads_where_the_library_itself_does_not() -> None:
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(lambda n: grade(str(n), rf"\boxed{{{n}.0}}"), range(20))) == {(1.0, Status.CORRECT)}


def test_a_hanging_answer_is_ungraded() -> None:
    score = MathVerifyGrader(cpu_seconds=0.5).equal("1", "9^{9^{9}}")
    assert score.status is Status.TIMEOUT
    assert not score.graded
