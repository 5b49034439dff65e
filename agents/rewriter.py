"""The step rewriter of SRL (arXiv 2510.25992 v3, appendix B.3): a reference solution as numbered, titled steps.

The paper had a large model do it, with two worked examples in the prompt, and discarded what broke the format. Its
prompt is described, not printed; wording and examples here are our own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from stepgym.agents.writing import Rejection
from stepgym.records import Attempt, Message, Role, Status, Task
from stepgym.rewards.maths.verifier import MathVerifier
from stepgym.tasks.numbered import numbered_steps
from stepgym.tasks.reference import reference_solution

SYSTEM = (
    "You rewrite solutions of mathematical problems as numbered steps. Follow the given solution: add no ideas, leave "
    "out no computation, and change no result. Each step is one line of thought: a short title in bold that says what "
    "is done, as an instruction, then the equations or operations that do it. Write at least two steps. The last step "
    "states the final answer in \\boxed{}, if there is one. Keep to this form, and write nothing else:\n\n"
    "SOLUTION:\n1. **Title** action\n2. **Title** action"
)
LONGEST = 32_768
"""Characters of a reference solution that is rewritten."""
_HEADING = "SOLUTION:"
_STEP = re.compile(r"([0-9]{1,3})\.[ \t]*\*\*[^*\n]+\*\*:?\s*\S")


def _example(problem: str, solution: str, rewritten: Sequence[str]) -> list[Message]:
    steps = "\n".join(f"{number}. {step}" for number, step in enumerate(rewritten, start=1))
    return [Message(Role.USER, _asked(problem, solution)), Message(Role.ASSISTANT, f"{_HEADING}\n{steps}")]


def _asked(problem: str, solution: str) -> str:
    return f"PROBLEM:\n{problem}\n\nORIGINAL SOLUTION:\n{solution}"


EXAMPLES = (
    *_example(
        "A shop sells pens at 3 for $4. How much do 18 pens cost, in dollars, if a discount of 25% is given?",
        "18 pens are 18/3 = 6 packs, so they cost 6 * 4 = 24 dollars. A discount of 25% takes off a quarter of this, "
        "6 dollars, and leaves 24 - 6 = 18 dollars.",
        (
            "**Count the packs** $18 / 3 = 6$.",
            "**Find the full price** $6 \\cdot 4 = 24$ dollars.",
            "**Find the discount** $25\\%$ of $24$ is $24 / 4 = 6$ dollars.",
            "**Take off the discount** $24 - 6 = 18$, so the pens cost $\\boxed{18}$ dollars.",
        ),
    ),
    *_example(
        "Find all real $x$ with $\\sqrt{x + 6} = x$.",
        "Squaring gives $x + 6 = x^2$, i.e. $(x - 3)(x + 2) = 0$, hence $x = 3$ or $x = -2$. But a root is never "
        "negative, so $-2$ is out, while $\\sqrt{9} = 3$ is fine. Answer: $3$.",
        (
            "**Square both sides** $x + 6 = x^2$.",
            "**Factor the quadratic** $x^2 - x - 6 = (x - 3)(x + 2) = 0$, so $x = 3$ or $x = -2$.",
            "**Check the candidates** A root is never negative, so $x = -2$ is out; $\\sqrt{3 + 6} = 3$ holds.",
            "**State the answer** $x = \\boxed{3}$.",
        ),
    ),
)
"""Two problems with their solutions rewritten."""


class StepRewriter:
    """Writes `Task.steps` from the task's reference solution.

    A reply is rejected unless it is steps numbered from 1, at least two, each with a title and an action, and nothing
    else; and where the task has a gold answer, the verifier must find it in the last step.
    """

    field = "steps"

    def has(self, task: Task, /) -> bool:
        """Whether there are steps enough for SRL."""
        return len(task.steps) > 1

    def messages(self, task: Task, /) -> list[Message] | Rejection:
        """The form, two examples, and the solution to be rewritten."""
        solution = reference_solution(task)
        if not solution:
            return Rejection("no solution to rewrite")
        if len(solution) > LONGEST:
            return Rejection("the solution is too long", f"{len(solution)} characters, more than {LONGEST}")
        return [Message(Role.SYSTEM, SYSTEM), *EXAMPLES, Message(Role.USER, _asked(task.prompt, solution))]

    def read(self, task: Task, text: str, /) -> Task | Rejection:
        """`task` with the steps in `text`."""
        text = text.strip().removeprefix(_HEADING).strip()
        steps = numbered_steps(text)
        if len(steps) < 2:
            return Rejection("fewer than two numbered, titled steps")
        if not text.startswith(steps[0]):
            return Rejection("breaks the format of steps", "there is text before the first step")
        for number, step in enumerate(steps, start=1):
            found = _STEP.match(step)
            if found is None:
                return Rejection("breaks the format of steps", f"step {number} is not '{number}. **Title** action'")
            if int(found[1]) != number:
                return Rejection("breaks the format of steps", f"step {number} has the number {found[1]}")
        if task.answer:
            score = MathVerifier()(Attempt(task=task, text=steps[-1]))
            if score.status is not Status.CORRECT:
                return Rejection("loses the final answer", f"the last step must state {task.answer[:200]}")
        return replace(task, steps=steps)
