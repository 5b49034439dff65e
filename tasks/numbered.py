"""Solutions written as numbered steps, the form of SRL's expert data (arXiv 2510.25992, section 5.1 and appendix B.3).

    1. **Factor the left side**: …          titled: also `**1. Factor**`, `**Step 1: Factor**`, `### Step 1: Factor`
    Step 1: factor the left side …          by the word: also `**Step 1**: …`
    1. We factor the left side …            plain: also `**1.** …`

Such solutions are cut where their numbers stand, at the beginning of a line. SRL's own data is titled; the two other
forms are read where they cannot be anything else: their numbers must count 1, 2, 3 …, and plain ones from the very
first line, for a list inside a solution is no list of its steps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

TITLED = re.compile(
    r"^(?:[0-9]{1,3}\.[ \t]*\*\*[^*\n]+\*\*[ \t]*[.:]?"
    r"|\*\*[ \t]*(?:(?i:step)[ \t]+)?[0-9]{1,3}[.:)][ \t]*[^*\s][^*\n]*\*\*[ \t]*[.:]?"
    r"|\#{1,6}[ \t]+(?:\*\*)?(?:(?i:step)[ \t]+)?[0-9]{1,3}[.:)][^\n]+)",
    re.MULTILINE,
)
"""A number with a title: bold, or a heading of its own."""
BY_WORD = re.compile(r"^(?:\*\*)?(?i:step)[ \t]+([0-9]{1,3})(?:\*\*)?[.:]", re.MULTILINE)
PLAIN = re.compile(r"^(?:\*\*)?([0-9]{1,3})\.(?:\*\*)?[ \t]+", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class TitledStep:
    """A step, taken apart."""

    title: str
    """With its number, as it is written; empty if the step has none."""
    body: str


def numbered_steps(solution: str) -> tuple[str, ...]:
    """The steps, each from its number to the next; none if there are fewer than two.

    What stands before the first number belongs to no step. Numbers of titled steps may start again, as in a part (b).
    """
    starts = _starts(solution)
    return tuple(solution[start:end].strip() for start, end in pairwise([*starts, len(solution)]))


def numbering_fault(solution: str) -> str:
    """Why `numbered_steps` finds none, as a clause for a person; empty if it finds some."""
    if _starts(solution):
        return ""
    if not solution.strip():
        return "empty"
    marks = max(len(pattern.findall(solution)) for pattern in (TITLED, BY_WORD, PLAIN))
    if marks == 0:
        return "a single line, not numbered" if "\n" not in solution.strip() else "several lines, not numbered"
    if marks == 1:
        return "one numbered step"
    return "numbered and untitled, but not 1, 2, 3 from the first line to the last"


def split_title(step: str) -> TitledStep:
    """A titled step's title and the rest of it (SRL, footnote 1)."""
    title = TITLED.match(step)
    return TitledStep(title[0].strip(), step[title.end() :].strip()) if title else TitledStep("", step)


def _starts(solution: str) -> list[int]:
    titled = [mark.start() for mark in TITLED.finditer(solution)]
    if len(titled) >= 2:
        return titled
    for pattern in (BY_WORD, PLAIN):
        marks = list(pattern.finditer(solution))
        counting = [int(mark[1]) for mark in marks] == list(range(1, len(marks) + 1))
        if len(marks) >= 2 and counting and (pattern is BY_WORD or not solution[: marks[0].start()].strip()):
            return [mark.start() for mark in marks]
    return []
