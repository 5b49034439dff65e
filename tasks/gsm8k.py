"""GSM8K's worked solutions, one calculation a line (Cobbe et al. 2021, arXiv 2110.14168).

A line carries its calculation in ``<<48/2=24>>``, and in the socratic variant a question before it, ``How many? ** …``.
The answer stands on the last line, behind ``####``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ANSWER = re.compile(r"(?:\A|\n)####([^\n]*)(?:\n\s*)?\Z")
"""The last line of a solution; elsewhere the hashes are a heading."""
MARK = re.compile(r"<<[^<>\n]*>>")


@dataclass(frozen=True, slots=True)
class Worked:
    """A solution cut into steps."""

    steps: tuple[str, ...] = ()
    subquestions: tuple[str, ...] = ()
    """One a step in the socratic variant, else none."""


def worked(solution: str, answer: str) -> Worked:
    """The steps of a GSM8K solution; the last one also gives the answer, in a box. Without ``####``, nothing."""
    end = ANSWER.search(solution)
    steps: list[str] = []
    questions: list[str] = []
    for line in MARK.sub("", solution[: end.start()]).split("\n") if end else ():
        question, asked, step = line.partition(" ** ")
        if asked and step.strip():
            questions.append(question.strip())
            steps.append(step.strip())
        elif not asked and line.strip():
            steps.append(line.strip())
    if steps:
        stop = "" if steps[-1].endswith((".", "!", "?")) else "."
        steps[-1] += f"{stop} The answer is \\boxed{{{answer}}}."
    return Worked(tuple(steps), tuple(questions))
