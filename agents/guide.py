"""The guide (Guide, arXiv 2506.13923): writes a hint from a reference solution that does not give the answer away.

The paper's hints were written by a stronger model; its prompt is not published, so the wording here is our own.
"""

from __future__ import annotations

from dataclasses import replace

from stepgym.agents.giveaway import gives_away
from stepgym.agents.writing import Rejection
from stepgym.records import Message, Role, Task
from stepgym.tasks.reference import reference_solution

SYSTEM = (
    "You are a tutor. You are shown a problem with its solution, and write a hint for a student who has tried the "
    "problem and failed. A good hint names the idea that opens the problem, or the first thing to do, in one to three "
    "sentences; it makes the problem easier and leaves the work to the student. Never state the final answer, in any "
    "form, and neither the last step nor the last computation. Do not mention that there is a solution. Reply with the "
    "hint and nothing else."
)
LONGEST = 1_500
"""Characters of a hint."""


class Guide:
    """Writes `Task.hint` from the task's solution, or from its answer alone if that is all there is.

    A reply that gives the answer away (`gives_away`) is rejected, as are one that is empty and one over `LONGEST`.
    """

    field = "hint"

    def has(self, task: Task, /) -> bool:
        """Whether there is a hint."""
        return bool(task.hint.strip())

    def messages(self, task: Task, /) -> list[Message] | Rejection:
        """The problem and what is known of its solution."""
        known = reference_solution(task)
        if not known and not task.answer:
            return Rejection("no solution and no answer to write a hint from")
        parts = [f"Problem:\n{task.prompt}"]
        parts += [f"Solution:\n{known}"] * bool(known) + [f"Final answer:\n{task.answer}"] * bool(task.answer)
        return [Message(Role.SYSTEM, SYSTEM), Message(Role.USER, "\n\n".join([*parts, "Write the hint."]))]

    def read(self, task: Task, text: str, /) -> Task | Rejection:
        """`task` with `text` as its hint."""
        hint = text.strip().removeprefix("**Hint:**").removeprefix("Hint:").strip()
        if not hint:
            return Rejection("empty")
        if len(hint) > LONGEST:
            return Rejection("too long", f"{len(hint)} characters, more than {LONGEST}")
        if leak := gives_away(hint, task):
            return Rejection("gives the answer away", f"it {leak}")
        return replace(task, hint=hint)
