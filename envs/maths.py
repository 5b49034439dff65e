"""``stepgym/Math-v0``: a mathematical problem, solved one step at a time, judged by its final answer."""

from __future__ import annotations

from stepgym.envs.task_set import TaskSource
from stepgym.envs.text import Outcome, TextEnv
from stepgym.errors import ConfigError
from stepgym.records import Score, Status, Stop
from stepgym.rewards import Reward
from stepgym.rewards.maths.extraction import has_final_answer

INSTRUCTIONS = (
    "Solve the problem step by step. Write one step at a time. "
    "When you know the answer, put it in \\boxed{} and write nothing after it."
)
SO_FAR = "Your solution so far:"
NOT_CORRECT = "Your answer is not correct. Try again."


class MathEnv(TextEnv):
    """An action is one reasoning step; an action with a final answer ends the episode. A whole solution is one action.

    The observation is the problem, `instructions`, and the solution so far. The reward is terminal: 0 for a step that
    goes on, the verifier's verdict for the one that answers.

    The verifier sees the answering action alone. Steps before it hold no final answer, or they would have ended the
    episode, so nothing is lost; and nobody can spread candidates over several steps and be judged on the best: the
    first answer given is the one that counts, and several within one action are the verifier's to refuse.

    The last action that `max_steps` allows is judged even without a box, for whatever answer the verifier finds in it.
    Unless that is accepted, the budget ended the episode: reward 0, truncated (`Stop.STEP_LIMIT`).

    With ``feedback=n``, the first n answers that are not correct do not end the episode: they earn 0, the observation
    says so, and the agent may go on. It then learns from the verifier, so pass@(n+1), not pass@1, is the fair
    comparison.
    """

    def __init__(
        self,
        tasks: TaskSource = "arithmetic",
        *,
        reward: Reward | str = "math",
        max_steps: int = 16,
        max_characters: int = 262_144,
        instructions: str = INSTRUCTIONS,
        feedback: int = 0,
    ) -> None:
        """As `TextEnv`; `instructions` follow the problem ("" shows the problem alone). Raises `ConfigError`."""
        super().__init__(tasks, reward=reward, max_steps=max_steps, max_characters=max_characters)
        if not 0 <= feedback < max_steps:
            raise ConfigError(f"feedback must lie between 0 and max_steps - 1 = {max_steps - 1}, got {feedback}")
        self.instructions = instructions
        self.feedback = feedback
        self._tries = 0
        self._shown = ""

    def begin(self) -> str:
        """The problem and the instructions."""
        self._tries = self.feedback
        self._shown = f"{self.task.prompt}\n\n{self.instructions}" if self.instructions else self.task.prompt
        return self._shown

    def advance(self, action: str) -> Outcome:
        """Add a step to the solution; judge it if it answers, or if it is the last there may be."""
        self._shown += f"\n{action}" if self.index else f"\n\n{SO_FAR}\n{action}"
        answered = has_final_answer(action)
        if not (answered or self._is_last):
            return Outcome(self._shown, Score(0.0))
        score = self.judge(action)
        failed = score.status in (Status.WRONG, Status.UNPARSABLE)
        if failed and not answered:
            return Outcome(self._shown, score, Stop.STEP_LIMIT)
        if failed and self._tries and not self._is_last:
            self._tries -= 1
            self._shown += f"\n{NOT_CORRECT}"
            return Outcome(self._shown, score)
        return Outcome(self._shown, score, Stop.ANSWERED)

    def may_block(self, action: str | None) -> bool:
        """Only judging waits."""
        return action is not None and (self._is_last or has_final_answer(action))

    @property
    def _is_last(self) -> bool:
        return self.index + 1 >= self.max_steps
