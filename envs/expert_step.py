"""``stepgym/ExpertStep-v0``: write the expert's next step (SRL, arXiv 2510.25992)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from stepgym.envs.task_set import TaskSource
from stepgym.envs.text import Outcome, TextEnv
from stepgym.errors import ConfigError
from stepgym.records import Attempt, Score, Stop, Task
from stepgym.rewards import REWARDS, Format, Reward, SequenceSimilarity, check_task
from stepgym.tasks.expert_steps import check_steps, is_instance, is_whole, step_instance, step_instances, whole_solution
from stepgym.tasks.numbered import numbered_steps

END_OF_THOUGHT = "</think>"
MALFORMED = -1.0
"""What an action earns that breaks the format (SRL, section 3.2)."""
MOST_CHARACTERS = 1_048_576
NEXT_STEP = (
    "You will be given a problem, and perhaps the beginning of its solution. Continue the solution by its very next "
    "step, and only that: one step of reasoning, or one command, in the form of the steps before it. Do not go on to "
    "the end of the solution."
)
WHOLE_SOLUTION = "You will be given a problem. Write its solution, step by step."
THINK = (
    "First think, as freely and as long as you need, like working on scratch paper, until you are sure. Then write "
    "what was asked for, and nothing else. Keep to this form:\n<think> your thoughts </think> {}"
)


class ExpertStepEnv(TextEnv):
    """An action is a thought and then the next step of a solution; its reward is how like the expert's that step is.

    An episode is one instance, one action long: the problem and the expert's first k - 1 steps, of which the target is
    the k-th (`stepgym.tasks.expert_steps`). `reset` draws a task and then k. It takes ``options={"task": …}`` too, a
    whole task or an instance, and `tasks` may be either; drawn from all instances of a task set, long solutions weigh
    more. ``info["task"]`` is the instance's id.

    With `walk`, an episode goes through all targets of a task in order: each action is rewarded, and then the expert's
    own step takes its place in the context, whatever the agent wrote. ``info["task"]`` is then the whole task's id.
    With `whole`, the target is the whole solution, the one-step baseline of the paper.

    The reward is `StepReward`: -1 for what breaks the format.
    """

    def __init__(
        self,
        tasks: TaskSource = "arithmetic?level=3",
        *,
        reward: Reward | str = "similarity",
        max_steps: int = 1_024,
        max_characters: int = MOST_CHARACTERS,
        last: bool = False,
        titled: bool = False,
        think: bool = True,
        walk: bool = False,
        whole: bool = False,
        instructions: str | None = None,
    ) -> None:
        """As `TextEnv`, with a `reward` that judges the step alone.

        `last` makes the last step a target too; `titled` shows the title of the next step; without `think` the whole
        action is the step. `instructions` stand before the problem: None for those of the settings, "" for none.
        Raises `TaskError` for a task without steps, naming it, and `ConfigError`.
        """
        if whole and (last or titled or walk):
            raise ConfigError("whole has the whole solution as its only target, so neither last, titled nor walk")
        judge = REWARDS.make(reward) if isinstance(reward, str) else reward
        judged = StepReward(reward=judge, think=think, last=last, titled=titled, whole=whole)
        super().__init__(tasks, reward=judged, max_steps=max_steps, max_characters=max_characters)
        self.last, self.titled, self.think, self.walk, self.whole = last, titled, think, walk, whole
        self.instructions = instructions
        self._waits = not isinstance(judge, SequenceSimilarity)
        self._instances: tuple[Task, ...] = ()

    def begin(self) -> str:
        """The instructions, the problem, and the expert's steps before the target."""
        if self.walk:
            self._instances = step_instances(self.task, last=self.last, titled=self.titled)
        else:
            self.task = self._drawn()
            self._instances = (self.task,)
        return self._shown(0)

    def advance(self, action: str) -> Outcome:
        """Judge a step; go on to the expert's next one, if there is one in this episode."""
        score = self.judge(action)
        if self.index + 1 < len(self._instances):
            return Outcome(self._shown(self.index + 1), score)
        return Outcome(self._shown(self.index), score, Stop.ANSWERED)

    def judge(self, text: str) -> Score:
        """The reward's verdict on `text` as the current instance's one step."""
        return self.reward(Attempt(task=self._instances[self.index], text=text))

    def may_block(self, action: str | None) -> bool:
        """A similarity is computed on the spot; other rewards may wait."""
        return self._waits and action is not None

    def _drawn(self) -> Task:
        if is_instance(self.task):
            return self.task
        if self.whole:
            return whole_solution(self.task)
        count = check_steps(self.task, last=self.last, titled=self.titled)
        return step_instance(self.task, 1 + int(self.np_random.integers(count)), titled=self.titled)

    def _shown(self, index: int) -> str:
        instance = self._instances[index]
        standing = self.instructions
        if standing is None:
            standing = _instructions(think=self.think, whole=is_whole(instance))
        return f"{standing}\n\n{instance.prompt}" if standing else instance.prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReward:
    """`reward` of what follows ``</think>``, or `MALFORMED` for an action that breaks the format.

    The format with `think`: ``<think>``, once and first, then ``</think>``, once, then one step: some text, and not
    several numbered steps, unless a whole solution is asked for. The other settings are those that the environment
    makes instances with.
    """

    reward: Reward
    think: bool = True
    last: bool = False
    titled: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        if not callable(self.reward):
            raise ConfigError(f"reward must be a Reward or the name of one, got {type(self.reward).__name__}")

    def __call__(self, attempt: Attempt, /) -> Score:
        """The score of a step; its parts have ``format``, 1 if it was kept and else 0."""
        fault = THOUGHT.fault(attempt.text) if self.think else ""
        step = attempt.text.rpartition(END_OF_THOUGHT)[2].strip() if self.think else attempt.text
        if fault := fault or _excess(step, attempt):
            return Score(MALFORMED, {"format": 0.0}, why=f"malformed: {fault}")
        score = self.reward(replace(attempt, text=step))
        return replace(score, parts={"format": 1.0, **score.parts})

    def check_task(self, task: Task, /) -> None:
        """Raises `TaskError` if the task gives no instance, or what `reward` raises."""
        if not is_instance(task):
            check_steps(task, last=self.last or self.whole, titled=self.titled)
        check_task(self.reward, task)


THOUGHT = Format(
    starts_with="<think>",
    once=("<think>", END_OF_THOUGHT),
    filled=(END_OF_THOUGHT,),
    max_characters=MOST_CHARACTERS,
)
"""SRL's format (appendix B.2.1)."""


def _excess(step: str, attempt: Attempt) -> str:
    """The fault of writing on after the next step. An expert's step may hold a numbered list, and so may its like."""
    found = len(numbered_steps(step))
    if found < 2 or is_whole(attempt.task):
        return ""
    expert = attempt.task.steps[attempt.index : attempt.index + 1]
    return "" if expert and found <= len(numbered_steps(expert[0])) else f"{found} numbered steps, not one"


def _instructions(*, think: bool, whole: bool) -> str:
    asked = WHOLE_SOLUTION if whole else NEXT_STEP
    wanted = "the solution" if whole else "the next step"
    return f"{asked}\n\n{THINK.format(wanted)}" if think else asked
