"""The records that flow through stepgym. Standard library only, all plain data.

    Task -> env.reset -> observation -> agent.act -> Reply -> env.step -> Attempt -> Reward -> Score
         -> Step -> Trajectory -> recipe -> Sample -> loss -> engine

They are frozen, picklable, and cross processes and files as JSON (`stepgym.codec`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from stepgym.codec import decode, encode
from stepgym.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One immutable problem, with what its grader and its teachers need and the agent must not see."""

    id: str
    prompt: str
    answer: str = ""
    """Gold answer, bare (no ``\\boxed``, no ``####``). Read by verifiers only; an env never shows it."""
    steps: tuple[str, ...] = ()
    """Expert actions, in order (SRL)."""
    hint: str = ""
    """Help that does not give the answer away (Guide)."""
    subquestions: tuple[str, ...] = ()
    """A decomposition of the problem (A2D)."""
    meta: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Anything else worth keeping from the source row: subject, level, unit. JSON values only."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return (
            self  # immutable; Gymnasium deep-copies the keyword arguments of an environment with every look at its spec
        )

    def to_json(self) -> str:
        """One line of JSON; `from_json` is its inverse."""
        return json.dumps(encode(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises `stepgym.errors.ConfigError` for what is not JSON, or naming the field that does not fit."""
        try:
            value = json.loads(text)
        except ValueError as error:
            raise ConfigError(f"task: not JSON ({error})") from error
        return decode(cls, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What a reward sees: the task and what the agent wrote."""

    task: Task
    text: str
    index: int = 0
    """Position of the action in the episode, from 0."""


class Status(StrEnum):
    """What kind of verdict a `Score` is."""

    GRADED = "graded"
    """A measure, such as a similarity: the value says it all."""
    CORRECT = "correct"
    """A verifier accepted the answer."""
    WRONG = "wrong"
    """A verifier read the answer and rejected it."""
    UNPARSABLE = "unparsable"
    """The agent gave no answer, or none that can be read: its own doing, so it counts as a failure."""
    TIMEOUT = "timeout"
    """The grader ran out of its budget before it could decide: ungraded."""
    ERROR = "error"
    """The grader itself broke: ungraded."""


UNGRADED = frozenset({Status.TIMEOUT, Status.ERROR})


@dataclass(frozen=True, slots=True)
class Score:
    """A reward's verdict. `value` trains, `parts` are logged; an ungraded score has the value NaN, never 0."""

    value: float
    parts: Mapping[str, float] = field(default_factory=dict)
    why: str = ""
    """One clause for a person: which rule decided, or what went wrong."""
    status: Status = Status.GRADED

    @property
    def graded(self) -> bool:
        """False where no verdict could be reached; trainers and averages leave such scores out."""
        return self.status not in UNGRADED

    @classmethod
    def ungraded(cls, why: str, status: Status = Status.ERROR) -> Self:
        """The score of an attempt that could not be judged."""
        return cls(math.nan, why=why, status=status)


class Role(StrEnum):
    """Who speaks in a chat."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What one or more samples cost. Sums with ``+``."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    """Wall time until the reply was complete, waiting between retries included."""
    dollars: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.seconds + other.seconds,
            self.dollars + other.dollars,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a policy sampled. Tokens are recorded here, where they were sampled, and never re-tokenised."""

    text: str
    prompt: tuple[int, ...] = ()
    """The exact token ids the engine was given. Empty, as the next two, for policies that do not expose tokens."""
    tokens: tuple[int, ...] = ()
    """The sampled token ids, the end-of-sequence token included if it was sampled."""
    logprobs: tuple[float, ...] = ()
    """log π(token | everything before it) under the sampling policy, one for each of `tokens`."""
    finished: bool = True
    """False if the reply was cut off by the token limit."""
    usage: Usage = Usage()


class Stop(StrEnum):
    """Why an episode ended."""

    ANSWERED = "answered"
    """The agent gave its final answer (or submitted its work), and it was judged."""
    STEP_LIMIT = "step_limit"
    """The budget of actions ran out."""
    CHARACTER_LIMIT = "character_limit"
    """The budget of characters ran out."""
    TIME_LIMIT = "time_limit"
    """The budget of seconds ran out."""
    UNGRADED = "ungraded"
    """The answer could not be judged; the reward of the last step is NaN."""
    ERROR = "error"
    """Our machinery broke; `Trajectory.error` says how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One action: what the agent saw, what it said, what that earned."""

    observation: str
    reply: Reply
    score: Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """One finished episode. A failed one is kept, with `error` set: a bad rollout is data, not a crash."""

    task: Task
    steps: tuple[Step, ...]
    stop: Stop
    error: str = ""
    env: str = ""
    """The id of the environment it was played in."""
    agent: str = ""
    """Who played it: the agent's and its policy's name."""

    @property
    def graded(self) -> bool:
        """True if every step was judged and nothing of ours broke; trainers use no other trajectories."""
        return self.stop not in (Stop.ERROR, Stop.UNGRADED) and all(step.score.graded for step in self.steps)

    @property
    def reward(self) -> float:
        """Sum of the step rewards; NaN unless `graded`."""
        return sum(step.score.value for step in self.steps) if self.graded else math.nan

    @property
    def usage(self) -> Usage:
        """What sampling the whole episode cost."""
        return sum((step.reply.usage for step in self.steps), Usage())
