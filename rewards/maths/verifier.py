"""`MathVerifier`: the reward that grades a final answer against the gold answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from stepgym.errors import SandboxError, TaskError
from stepgym.records import Attempt, Score, Status, Task
from stepgym.rewards.maths.extraction import final_answers, last_boxes
from stepgym.rewards.maths.number import Number, read_number
from stepgym.rewards.maths.policy import DEFAULT, QWEN, Percent, Policy, Tolerant
from stepgym.rewards.maths.text import clean, words

MAX_ANSWER = 4096
"""Characters of a final answer; a longer one cannot be read."""

_WORD = re.compile(r"no|[a-z]{3,}(?: [a-z]+)*")
_CONDITION = re.compile(r"\b(?:for|where|with|if|when|such that|pmod|mod)\b(.*)")
_NUMERALS = re.compile(r"[0-9]+|[<>=]|\\[a-z]+")
_CHOICE = re.compile(r"(?:\\text\s*\{)?\s*\(?([A-J])\)?\s*\}?")
_CHOSEN = re.compile(r"(?:\\text\s*\{)?\s*\(?([A-J])(?:\)|[.:](?=\s))\s*\}?(|\s[\w\s\\{(-].*)")
_OTHER = re.compile(r"\s*\(?(?:\\text\s*\{\s*)?(?:or|and|but|else|otherwise|maybe|perhaps|possibly|alternatively)\b")
_UNEVALUATED = re.compile(r"\\(?:i{0,2}int|oint|lim)(?![a-zA-Z])")
_SAME_TEXT = Score(1.0, why="same text", status=Status.CORRECT)
_EMPTY = Score(0.0, why="the answer is empty", status=Status.UNPARSABLE)
_SAME_NUMBER = Score(1.0, why="exact number", status=Status.CORRECT)
_OTHER_NUMBER = Score(0.0, why="exact number", status=Status.WRONG)


@dataclass(frozen=True, slots=True)
class Gold:
    """A gold answer, read once."""

    text: str
    number: Number | None


@lru_cache(maxsize=16_384)
def read_gold(gold: str) -> Gold:
    r"""The gold answer cleaned and, if it is a plain number, read. Only a ``\boxed`` marks an answer within a gold."""
    if "boxed" in gold:
        gold = ", ".join(last_boxes(gold)) or gold
    cleaned = clean(gold)
    return Gold(cleaned, read_number(cleaned))


@dataclass(frozen=True, slots=True)
class MathVerifier:
    """Judges whether the final answer of a text equals the task's gold answer, value 1 or 0; NaN if time ran out.

    A pure function of text: no signals, no evaluation of text, safe in threads, processes and event loops. Tiers, in
    order: same text, exact numbers, exact normal forms, numeric probing, and a symbolic engine in a worker process with
    a budget of CPU time. `Score.why` names the one that decided.
    """

    policy: Policy = DEFAULT

    def __call__(self, attempt: Attempt, /) -> Score:
        """The verdict on the final answer in `attempt.text`; UNPARSABLE if there is none."""
        answers = final_answers(attempt.text, self.policy.finding)
        if not answers:
            return Score(0.0, why="no final answer in the text", status=Status.UNPARSABLE)
        return self.equal(attempt.task.answer, answers[0] if len(answers) == 1 else ", ".join(answers))

    def equal(self, gold: str, answer: str) -> Score:
        r"""The verdict on a bare answer (a ``\boxed`` around it is allowed). Nothing is extracted from the gold."""
        target = read_gold(gold)
        if "boxed" in answer:
            answer = ", ".join(last_boxes(answer)) or answer
        if not target.text:
            return Score.ungraded("the gold answer is empty")
        if len(answer) > MAX_ANSWER:
            return Score(0.0, why=f"the answer is longer than {MAX_ANSWER} characters", status=Status.UNPARSABLE)
        cleaned = clean(answer)
        if not cleaned:
            return _EMPTY
        if cleaned == target.text:
            return _SAME_TEXT
        number = read_number(cleaned) if target.number is not None else None
        if number is not None and target.number is not None and not (number.percent or target.number.percent):
            if number.value == target.number.value and not self.policy.reduced:
                return _SAME_NUMBER
            if _exact(target.number, self.policy):
                return _OTHER_NUMBER
        return _compared(target.text, cleaned, self.policy)

    def check_task(self, task: Task, /) -> None:
        """Raise `stepgym.errors.TaskError` if the gold answer is empty, too long, broken LaTeX or not evaluated."""
        if not clean(task.answer):
            raise TaskError(f"task {task.id!r} has no gold answer; give its field answer a value")
        if task.answer.count("{") != task.answer.count("}"):
            raise TaskError(
                f"task {task.id!r}: the braces of the gold answer {task.answer[:60]!r} do not match; mend it"
            )
        if _UNEVALUATED.search(task.answer):
            raise TaskError(
                f"task {task.id!r}: the gold answer {task.answer[:60]!r} is an integral or a limit; give its value"
            )
        if len(task.answer) > MAX_ANSWER:
            raise TaskError(
                f"task {task.id!r}: the gold answer is longer than {MAX_ANSWER} characters; give the answer alone"
            )


def qwen_verifier() -> MathVerifier:
    """A `MathVerifier` with the conventions of Qwen2.5-Math, for numbers to be compared with published ones."""
    return MathVerifier(QWEN)


def _exact(gold: Number, policy: Policy) -> bool:
    """Whether other values are wrong: the gold is no decimal, and the policy has no tolerance for other golds."""
    if gold.place is not None or policy.reduced or policy.percent is Percent.FACTOR:
        return False
    return policy.tolerant is Tolerant.ROUNDED_GOLD


@lru_cache(maxsize=65_536)
def _decided(gold: str, answer: str, policy: Policy) -> Score:
    """The verdict of the structural tiers on cleaned texts. Not cached where it raises, that is, where time ran out."""
    from stepgym.rewards.maths.grammar import read_answer
    from stepgym.rewards.maths.nodes import Text
    from stepgym.rewards.maths.shapes import AnswerComparison

    left, right = read_answer(gold), read_answer(answer)
    if (isinstance(left, Text) or _WORD.fullmatch(words(gold))) and words(gold) == words(answer):
        return Score(1.0, why="same words", status=Status.CORRECT)
    if _conditions_differ(gold, answer):
        return Score(0.0, why="another condition", status=Status.WRONG)
    if (letter := _CHOICE.fullmatch(gold)) and (chosen := _CHOSEN.fullmatch(answer)):
        same = letter[1] == chosen[1] and not _CHOSEN.search(chosen[2]) and not _OTHER.match(chosen[2])
        return Score(float(same), why="letter of a choice", status=Status.CORRECT if same else Status.WRONG)
    comparison = AnswerComparison(policy)
    same = comparison.same(left, right)
    if same and policy.reduced and not _reduced(answer):
        return Score(0.0, why="a fraction that can be reduced", status=Status.WRONG)
    if not same and isinstance(right, Text) and not isinstance(left, Text):
        return Score(0.0, why="the answer is no mathematics that can be read", status=Status.UNPARSABLE)
    return Score(float(same), why=comparison.tier.value, status=Status.CORRECT if same else Status.WRONG)


def _conditions_differ(gold: str, answer: str) -> bool:
    """Whether both state a condition ("for x > 0"), with other numbers or signs in it."""
    stated, given = _CONDITION.search(gold), _CONDITION.search(answer)
    return bool(stated and given and _NUMERALS.findall(stated[1]) != _NUMERALS.findall(given[1]))


def _compared(gold: str, answer: str, policy: Policy) -> Score:
    from stepgym.sandboxes.workers import OverBudgetError

    try:
        return _decided(gold, answer, policy)
    except OverBudgetError as error:
        return Score.ungraded(f"symbolic: {error}", Status.TIMEOUT)
    except SandboxError as error:
        return Score.ungraded(f"symbolic: {error}", Status.ERROR)


def _reduced(answer: str) -> bool:
    number = read_number(answer)
    return number is None or number.lowest
