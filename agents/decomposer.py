"""The decomposer of A2D (arXiv 2602.00759, section 2.2): breaks a problem into sub-questions, without solving it."""

from __future__ import annotations

import re
from dataclasses import replace

from stepgym.agents.writing import Rejection
from stepgym.records import Message, Role, Task
from stepgym.rewards.maths.extraction import has_final_answer
from stepgym.tasks.helped import with_template
from stepgym.tasks.subquestions import DECOMPOSE, parse_subquestions, subquestions_fault

_ANSWER = re.compile(r"\banswer\s*(?:is|:)", re.IGNORECASE)


class Decomposer:
    """Writes `Task.subquestions`. What it is told is what ``stepgym/Decompose-v0`` shows, so one trained there fits.

    It sees the problem alone, never the answer. A reply that breaks A2D's format is rejected, and so is one that
    answers: with a box, "answer:" or "answer is", none of which occurs in the paper's decompositions (table 4).
    """

    field = "subquestions"

    def __init__(self, template: str = DECOMPOSE) -> None:
        """`template` has ``{prompt}`` where the problem goes. Raises `ConfigError` if it has not."""
        with_template(Task(id="", prompt=""), template)
        self.template = template

    def has(self, task: Task, /) -> bool:
        """Whether there is a sub-question."""
        return bool(task.subquestions)

    def messages(self, task: Task, /) -> list[Message]:
        """The template, filled."""
        return [Message(Role.USER, with_template(task, self.template).prompt)]

    def read(self, task: Task, text: str, /) -> Task | Rejection:
        """`task` with the sub-questions in `text`."""
        if fault := subquestions_fault(text):
            return Rejection("breaks the format of sub-questions", fault)
        if has_final_answer(text) or _ANSWER.search(text):
            return Rejection("contains a final answer")
        return replace(task, subquestions=parse_subquestions(text))
