"""Math-Verify (Hugging Face) as a reward, in the killable worker pool: it uses signals, and hangs on hostile input.

Needs the extra ``graders``. Source: https://github.com/huggingface/Math-Verify.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from stepgym.errors import MissingDependencyError, SandboxError
from stepgym.records import Attempt, Score, Status
from stepgym.rewards.maths.extraction import final_answers
from stepgym.rewards.maths.policy import Finding

MEMORY_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class MathVerifyGrader:
    r"""Judges the last ``\boxed{…}`` of a text with Math-Verify's own parser and comparison.

    Raises `stepgym.errors.MissingDependencyError` if the library is not installed.
    """

    finding: Finding = Finding.STATED
    """How the final answer is found in a text; the library gets it in a box, so its own search cannot change it."""
    cpu_seconds: float = 10.0
    """CPU time for one answer; beyond it the answer is ungraded."""

    def __post_init__(self) -> None:
        if find_spec("math_verify") is None:
            raise MissingDependencyError("math-verify is not installed; pip install 'stepgym[graders]'")

    def __call__(self, attempt: Attempt, /) -> Score:
        """The verdict on the final answer in `attempt.text`; UNPARSABLE if there is none."""
        answers = final_answers(attempt.text, self.finding)
        if not answers:
            return Score(0.0, why="no final answer in the text", status=Status.UNPARSABLE)
        return self.equal(attempt.task.answer, ", ".join(answers))

    def equal(self, gold: str, answer: str) -> Score:
        """The verdict on a bare answer."""
        from stepgym.sandboxes.workers import OverBudgetError, shared_pool

        try:
            same = shared_pool().run(
                "stepgym.rewards.maths.math_verify_grader:same",
                (gold, answer),
                cpu_seconds=self.cpu_seconds,
                memory_bytes=MEMORY_BYTES,
            )
        except OverBudgetError as error:
            return Score.ungraded(f"math-verify: {error}", Status.TIMEOUT)
        except SandboxError as error:
            return Score.ungraded(f"math-verify: {error}")
        return Score(float(same), why="math-verify", status=Status.CORRECT if same else Status.WRONG)


def same(pair: tuple[str, str]) -> bool:
    """Whether Math-Verify takes the two for the same. Its own time-outs are off: the worker has a budget."""
    from math_verify import parse, verify

    gold, answer = (parse(rf"\boxed{{{text}}}", parsing_timeout=None, raise_on_error=True) for text in pair)
    return bool(verify(gold, answer, timeout_seconds=None, raise_on_error=True))
