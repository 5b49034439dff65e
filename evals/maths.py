"""`stepgym eval math`: an agent's accuracy on mathematical problems.

The protocol is that of Qwen2.5-Math (arXiv 2409.12122, ``evaluation/``): its prompts, greedy pass@1, or avg@n and
pass@k over several samples. The environment is ``stepgym/Math-v0`` with one step a problem, so that what is measured
here is what is trained on there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from stepgym.agents import POLICIES
from stepgym.agents.chat import ChatAgent
from stepgym.agents.making import PolicyConfig, make_policy
from stepgym.agents.policy import Agent, Policy, Sampling
from stepgym.agents.running import run_to_end
from stepgym.codec import encode
from stepgym.errors import ConfigError
from stepgym.evals.environments import env_maker
from stepgym.evals.playing import plan, play_missing
from stepgym.evals.prompts import find_prompt
from stepgym.evals.report import MathReport
from stepgym.evals.run_folder import RunFolder, default_folder
from stepgym.records import Task
from stepgym.rewards import REWARDS
from stepgym.store import JsonLines, write_whole

MAX_CHARACTERS = 2**24
"""Of an episode: replies are bounded by their tokens, and a long one is the model's to write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MathEval(PolicyConfig):
    """Settings of an evaluation on mathematical problems."""

    tasks: str = "arithmetic"
    """A task set's name, a family with its settings, or a file; see `stepgym tasks list`."""
    limit: int | None = None
    """Only the first so many tasks."""
    samples: int = 1
    """Replies for each task. Several need a temperature."""
    temperature: float = 0.0
    """0 is greedy. Qwen2.5-Math's maj@8 takes 0.7, with top_p 0.8."""
    top_p: float = 1.0
    """Sample from the likeliest tokens that make up this much probability."""
    max_tokens: int = 2048
    """Most tokens of one reply. The protocol's default is too short for long chains of thought."""
    stop: tuple[str, ...] = ("</s>", "<|im_end|>", "<|endoftext|>")
    """Strings that end a reply."""
    prompt: str = "qwen25-math-cot"
    """How the problem is put: qwen25-math-cot, qwen-boxed, boxed (no system prompt) or plain (the problem alone)."""
    grader: str = "math"
    """The reward that judges the answers."""
    seed: int = 0
    """Of the sampling and of the bootstrap."""
    concurrency: int = 32
    """Problems under way at a time."""
    patience: int = 10
    """Stop when so many samples in a row have failed."""
    out: Path | None = None
    """Folder of the run; the same command with the same folder goes on where it stopped. Default: under runs/."""
    rescore: bool = False
    """Grade the stored answers of the folder again, with the grader given, without a model."""
    json: bool = False
    """Print the report as JSON."""


def evaluate_math(config: MathEval, *, make_agent: Callable[[], Agent] | None = None) -> MathReport:
    """Play what is missing, write ``report.json``, and return it. Raises what tasks, policy and folder raise.

    Safe to kill at any moment: the same call goes on with nothing lost and nothing done twice. `make_agent` makes an
    agent of your own for each episode; the settings of policy, prompt and sampling then only describe it.
    """
    from stepgym.tasks import load

    _check(config)
    if make_agent is None:
        POLICIES.load(config.policy)  # an unknown name is found before a folder is made
    tasks = load(config.tasks, limit=config.limit)
    folder = math_folder(config)
    settings: dict[str, Any] = {"tasks": tasks, "reward": config.grader, "max_steps": 1, "instructions": ""}
    make_env = env_maker("stepgym/Math-v0", max_characters=MAX_CHARACTERS, **settings)
    with JsonLines(folder.trajectories) as file:
        folder.claim(config, tasks)
        play = partial(
            play_missing,
            folder,
            file,
            list(plan(tasks, samples=config.samples, seed=config.seed)),
            make_env=make_env,
            grader=config.grader,
            concurrency=config.concurrency,
            patience=config.patience,
            title=f"eval {config.tasks}",
        )
        run_to_end(play(make_agent=make_agent) if make_agent else _play_policy(config, tasks, play))
    return write_report(config, folder)


def write_report(config: MathEval, folder: RunFolder) -> MathReport:
    """Add up what the folder holds, and store the result beside it."""
    from stepgym.evals.scoring import average, majority, passes, tally

    lines = folder.read(config.grader)
    total = tally(lines)
    task_count = folder.task_count()
    report = MathReport(
        tasks=config.tasks,
        policy=config.policy,
        model=config.model or "",
        prompt=config.prompt,
        grader=config.grader,
        temperature=config.temperature,
        top_p=config.top_p,
        max_tokens=config.max_tokens,
        samples=config.samples,
        task_count=task_count,
        unmeasured=task_count - len(total.values_by_task),
        graded=total.graded,
        ungraded=total.ungraded,
        failed=total.failed,
        missing=task_count * config.samples - len(lines),
        unanswered=total.unanswered,
        cut=total.cut,
        average=average(total, seed=config.seed),
        pass_at=passes(total, samples=config.samples, seed=config.seed),
        majority=majority(total, seed=config.seed) if config.samples > 1 else None,
        usage=total.usage,
        by_task=total.results(),
    )
    write_whole(folder.report, json.dumps(encode(report), indent=2, ensure_ascii=False) + "\n")
    return report


def math_folder(config: MathEval) -> RunFolder:
    """Where the run is kept: as asked, or named after the tasks and the model."""
    return RunFolder(config.out or default_folder("math", config.tasks, config.model or config.policy))


def _check(config: MathEval) -> None:
    find_prompt(config.prompt)
    _sampling(config)
    REWARDS.load(config.grader)
    for name in ("samples", "concurrency", "patience", "max_tokens"):
        if getattr(config, name) < 1:
            raise ConfigError(f"{name} must be at least 1, got {getattr(config, name)}")
    if config.samples > 1 and config.temperature == 0:
        raise ConfigError(
            f"{config.samples} samples at temperature 0 are one answer {config.samples} times; give --temperature"
        )


async def _play_policy(config: MathEval, tasks: Sequence[Task], play: Callable[..., Coroutine[Any, Any, None]]) -> None:
    policy = make_policy(config, tasks=tasks)
    try:
        await play(make_agent=lambda: _agent(config, policy))
    finally:
        await policy.close()


def _sampling(config: MathEval) -> Sampling:
    return Sampling(temperature=config.temperature, top_p=config.top_p, max_tokens=config.max_tokens, stop=config.stop)


def _agent(config: MathEval, policy: Policy) -> ChatAgent:
    prompt = find_prompt(config.prompt)
    return ChatAgent(policy, sampling=_sampling(config), system=prompt.system, suffix=prompt.suffix)
