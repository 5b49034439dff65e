"""How the prompts of a run look to its model: whether it has a chat template, and how long the longest is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stepgym.agents.chat_prompt import prompt_ids
from stepgym.errors import ConfigError, PolicyError, TaskError
from stepgym.records import Message, Role, Task
from stepgym.tasks.expert_steps import joined
from stepgym.tasks.helped import with_help, with_subquestions
from stepgym.trainers.a2d import Reasoner
from stepgym.trainers.cluster.job import TaskTable
from stepgym.trainers.config import TrainConfig
from stepgym.trainers.guide import GuideGRPO
from stepgym.trainers.recipe import Recipe
from stepgym.trainers.stage import Stage, evaluation_stage, training_stage

SECONDS = 10.0
"""Most that is spent on tokenising prompts before a run."""
FEW = 64
"""So many are looked at in any case."""


@dataclass(frozen=True, slots=True)
class Longest:
    """The prompt with the most tokens."""

    task: str
    """The task's id."""
    tokens: int


def load_tokenizer(model: str) -> Any:
    """The model's own, of HuggingFace. Raises `ConfigError` for a model without one."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the tokenizer of {model!r}: {str(error).partition(chr(10))[0]}") from error
    if not tokenizer("a").input_ids:  # transformers makes an empty one where there are no files
        raise ConfigError(f"{model!r} has no tokenizer; copy the tokenizer's files beside its config.json")
    return tokenizer


def check_template(tokenizer: Any, model: str, stages: Sequence[Stage]) -> None:
    """Raises `ConfigError` for episodes of several turns with a tokenizer that has no chat template.

    A base model is given a single prompt as plain text; where one turn ends and the next begins only a template says.
    """
    talks = next((stage.env for stage in stages if stage.settings.get("max_steps", 1) > 1), "")
    if talks and not getattr(tokenizer, "chat_template", None):
        raise ConfigError(
            f"the tokenizer of {model!r} has no chat template, which episodes of several actions in {talks} need; "
            "set max_steps to 1, or choose a chat model"
        )


def check_prompts(config: TrainConfig, recipe: Recipe, tasks: TaskTable, model: str, context: int) -> int:
    """Raises `ConfigError` for a tokenizer that cannot put them, `TaskError` for one that leaves no room for a reply.

    Returns how many tokens the longest to learn from has; where it is imitated, with what is imitated.
    """
    tokenizer = load_tokenizer(model)
    training, evaluation = training_stage(config, recipe), evaluation_stage(config, recipe)
    check_template(tokenizer, model, [evaluation, *([training] if recipe.rollouts else [])])

    def longest(of: Sequence[Task], shown: Callable[[Task], str], system: str) -> int:
        found = longest_prompt(tokenizer, of, shown, context - 1, system=system)
        if found.tokens >= context:
            raise TaskError(
                f"task {found.task!r} needs {found.tokens} tokens, and the model's context of {context} has no room "
                "for them and a reply; leave it out, or choose a model with a larger context"
            )
        return found.tokens

    observe = observations(evaluation, tasks.held_out[:1], config)
    longest(tasks.held_out, observe, config.system)
    if tasks.rehearsal:
        longest([with_solution(task) for task in tasks.rehearsal], lambda task: task.prompt, "")
    if not recipe.rollouts:
        return longest([with_solution(task) for task in tasks.training], observe, config.system)
    shown = observations(training, tasks.training[:1], config)
    return longest(with_helped(recipe, tasks.training), shown, config.system)


def longest_prompt(
    tokenizer: Any,
    tasks: Sequence[Task],
    shown: Callable[[Task], str],
    room: int,
    *,
    system: str = "",
    seconds: float = SECONDS,
) -> Longest:
    """The longest chat of `system` and what is `shown` of a task: exactly, if it has more than `room` tokens.

    A text has at most as many tokens as bytes, so tasks of most bytes are looked at first, until none that is left can
    be longer than `room` and `FEW` were looked at, or `seconds` have gone by. Raises `ConfigError` for a chat template
    that refuses the chat.
    """
    chat = [Message(Role.SYSTEM, system)] if system else []
    longest, until = Longest("", 0), time.monotonic() + seconds
    ordered = sorted(tasks, key=_bytes, reverse=True)
    around = len(shown(ordered[0]).encode()) - _bytes(ordered[0]) + _count(tokenizer, chat, "")
    for place, task in enumerate(ordered):
        most = _bytes(task) + around
        if most <= longest.tokens or (most <= room and place >= FEW) or time.monotonic() > until:
            break
        tokens = _count(tokenizer, chat, shown(task))
        if tokens > longest.tokens:
            longest = Longest(task.id, tokens)
    return longest


def observations(stage: Stage, tasks: Sequence[Task], config: TrainConfig) -> Callable[[Task], str]:
    """What an episode of a task shows first. Where that would open a sandbox: the instructions and the problem."""
    if stage.takes("sandbox"):
        return lambda task: f"{config.instructions}\n{task.prompt}"
    env = stage.make(tasks)

    def first(task: Task) -> str:
        observation, _ = env.reset(options={"task": task})
        return observation

    return first


def with_solution(task: Task) -> Task:
    """`task` with its expert steps in the prompt: about as long as what is imitated of it."""
    return replace(task, prompt=f"{task.prompt}\n{joined(task, task.steps)}")


def with_helped(recipe: Recipe, tasks: Sequence[Task]) -> list[Task]:
    """`tasks`, and those that the recipe makes of them by putting help into their prompts."""
    if isinstance(recipe, GuideGRPO):
        return [*tasks, *(with_help(task, recipe.help, recipe.template) for task in tasks)]
    if isinstance(recipe, Reasoner):
        return [*tasks, *(with_subquestions(task, recipe.template) for task in tasks)]
    return list(tasks)


def _count(tokenizer: Any, system: Sequence[Message], text: str) -> int:
    try:
        return len(prompt_ids(tokenizer, [*system, Message(Role.USER, text)]))
    except PolicyError as error:
        raise ConfigError(f"{error}; leave system out, or choose another model") from error


def _bytes(task: Task) -> int:
    return len(task.prompt.encode())
