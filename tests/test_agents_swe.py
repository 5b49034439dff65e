"""Agents at a repository: gold, no-op, replay, and the bash agent over a policy; and executing replay."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import pytest

from stepgym import Message, Reply, Role, Score, Stop, Task, Usage
from stepgym.agents import (
    BashAgent,
    GoldAgent,
    NoOpAgent,
    ReplayAgent,
    Sampling,
    ScriptedPolicy,
    recording,
    replay,
    rollout_all,
    with_run,
)
from stepgym.agents.policy import Agent
from stepgym.agents.rollout import Episode, rollout
from stepgym.agents.swe_replay import recorded_codes
from stepgym.agents.swe_scripted import gold_command
from stepgym.envs.swe_actions import Edit, as_call
from stepgym.errors import ConfigError, SandboxError, TaskError
from stepgym.records import Trajectory
from stepgym.tasks import load
from stepgym.tasks.expert_steps import OBSERVATIONS

pytestmark = pytest.mark.usefixtures("namespaces")

TASKS = load("swe-small")
PAGER = next(task for task in TASKS if task.id == "swe-small__pager")


def patched(attempt: object) -> Score:
    """A reward that runs nothing: whether there is a patch."""
    return Score(float(bool(attempt.text)))  # type: ignore[attr-defined]


def played(agent: Agent, task: Task = PAGER, **settings: object) -> Trajectory:
    env = gym.make("stepgym/SWE-v0", **{"tasks": [task], "reward": patched, **settings})
    try:
        return asyncio.run(rollout(env, agent, task))
    finally:
        env.close()


class Priced:
    """A policy whose every reply costs the same; it looks around for ever."""

    name = "priced"

    def __init__(self) -> None:
        self.seen: list[list[Message]] = []

    async def sample(self, messages: Sequence[Message], sampling: Sampling) -> Reply:
        self.seen.append(list(messages))
        return Reply(text="```bash\nls\n```", usage=Usage(100, 10, 0.5, 0.25))

    async def close(self) -> None:
        """Nothing to free."""


def test_gold_earns_one_and_nothing_earns_none_on_every_shipped_task() -> None:
    async def rewards(agent: type[GoldAgent | NoOpAgent]) -> list[float]:
        episodes = [Episode(task=TASKS[i % len(TASKS)], index=i // len(TASKS)) for i in range(20)]
        made = (lambda: GoldAgent(TASKS)) if agent is GoldAgent else NoOpAgent
        found = []
        async for done in rollout_all(lambda: gym.make("stepgym/SWE-v0"), made, episodes, concurrency=4):
            assert done.trajectory.stop is Stop.ANSWERED, done.trajectory.error
            found.append(done.trajectory.reward)
        return found

    assert asyncio.run(rewards(GoldAgent)) == [1.0] * 20
    assert asyncio.run(rewards(NoOpAgent)) == [0.0] * 20


def test_the_bash_agent_talks_through_an_episode() -> None:
    commands = ("cat pager/core.py", "echo x > new.txt", "submit")
    look, edit, submit = (f"So.\n\n```bash\n{line}\n```" for line in commands)
    policy = ScriptedPolicy(look, "No block.", edit, submit)
    agent = BashAgent(policy)
    trajectory = played(agent, bare=False)
    assert (trajectory.reward, trajectory.stop, len(trajectory.steps)) == (1.0, Stop.ANSWERED, 4)
    assert "class Pager" in trajectory.steps[1].observation
    assert "no block of bash" in trajectory.steps[2].observation
    roles = [message.role for message in agent.messages]
    assert roles == [Role.SYSTEM, *[Role.USER, Role.ASSISTANT] * 4]
    assert agent.messages[1].content.startswith(PAGER.prompt)
    assert agent.name == "bash:scripted"


def test_the_dialect_of_tools() -> None:
    edit = {"command": "create", "path": "new.txt", "file_text": "x"}
    calls = [{"name": "str_replace_editor", "arguments": edit}, {"name": "submit", "arguments": {}}]
    policy = ScriptedPolicy(*(f"Now.\n<tool_call>\n{json.dumps(call)}\n</tool_call>" for call in calls))
    agent = BashAgent(policy, dialect="tools")
    trajectory = played(agent, bare=False)
    assert trajectory.reward == 1.0
    run = recording(trajectory)
    assert run.steps == (as_call(Edit(command="create", path="new.txt", text="x")), "submit")
    assert replay(run).equal == 1
    assert "<tool_call>" in agent.messages[0].content


@pytest.mark.parametrize(
    ("budget", "turns"),
    [({"steps": 3}, 3), ({"tokens": 250}, 3), ({"dollars": 0.5}, 2), ({"seconds": 1e-9}, 0)],
)
def test_a_budget_that_is_used_up_submits(budget: dict[str, float], turns: int) -> None:
    policy = Priced()
    agent = BashAgent(policy, **budget)  # type: ignore[arg-type]
    trajectory = played(agent)
    assert (len(policy.seen), trajectory.stop) == (turns, Stop.ANSWERED)
    assert agent.out_of == next(iter(budget))
    assert trajectory.usage.dollars == 0.25 * turns
    assert len(played(agent).steps) == turns + 1, "a further episode has budgets of its own"


@pytest.mark.parametrize("settings", [{"dialect": "xml"}, {"steps": 0}, {"dollars": -1.0}, {"tokens": float("nan")}])
def test_settings_of_the_bash_agent_that_cannot_work(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        BashAgent(Priced(), **settings)  # type: ignore[arg-type]


def test_a_recorded_episode_plays_again() -> None:
    first = played(GoldAgent(TASKS))
    run = recording(first)
    assert run.steps == (gold_command(PAGER.answer), "submit")
    again = played(ReplayAgent([run]), run)
    assert (again.reward, len(again.steps)) == (1.0, 2)
    likened = played(ReplayAgent([run]), run, step_reward="similarity")
    assert [step.score.value for step in likened.steps] == [1.0, 1.0]
    expert = gym.make("stepgym/ExpertStep-v0", tasks=[run], think=False)
    expert.reset()
    assert expert.step(run.steps[0])[1] == 1.0


def test_a_replay_compares_exit_codes() -> None:
    commands = ["ls pager", "false", 'grep -c "```bash" no-file', "cd pager && pwd", "exit 7"]
    run = recording(played(ReplayAgent([replace(PAGER, steps=tuple(commands))])))
    assert run.steps == (*commands, "submit")
    assert recorded_codes(run) == (0, 1, 2, 0, 7, None)
    report = replay(run)
    assert (len(report.steps), report.comparable, report.equal, report.first_difference) == (5, 5, 5, None)
    observations = list(run.meta[OBSERVATIONS])
    observations[1] = observations[1].replace(">1<", ">0<")
    report = replay(replace(run, meta={**run.meta, OBSERVATIONS: observations}))
    assert (report.comparable, report.equal) == (5, 4)
    assert report.first_difference is not None
    assert (report.first_difference.index, report.first_difference.command) == (1, "false")


def test_what_cannot_be_replayed_is_said() -> None:
    with pytest.raises(TaskError, match="no recorded steps"):
        replay(PAGER)
    with pytest.raises(TaskError, match="no recorded steps"):
        ReplayAgent([PAGER])
    with pytest.raises(TaskError, match="without its repository"):
        replay(Task(id="t", prompt="p", steps=("ls",)))
    with pytest.raises(TaskError, match="no recorded steps"):
        GoldAgent([replace(PAGER, answer=" ")])


def test_recorded_runs_join_their_repositories(data_dir: Path) -> None:
    runs = {run.id: run for run in load(data_dir / "swe" / "trajectories" / "mini_swe_agent")}
    rows = {task.id: task for task in load(data_dir / "swe" / "rows" / "v5_rows.json")}
    joined = [with_run(rows[name], runs[name]) for name in sorted(rows.keys() & runs.keys())]
    codes = [recorded_codes(task) for task in joined]
    assert [(len(each), sum(code is not None for code in each)) for each in codes] == [(20, 19), (34, 33), (29, 28)]
    for task in joined:
        try:
            report = replay(task)
        except SandboxError as error:
            pytest.skip(f"the image of {task.id} is not here: {error}")
        assert report.equal == report.comparable


def test_the_gold_command_carries_any_patch() -> None:
    gold = "diff --git a/n b/n\nnew file mode 100644\n--- /dev/null\n+++ b/n\n@@ -0,0 +1,2 @@\n+$HOME `id` \\\n+'EOF\n"
    for patch in (gold, gold.rstrip("\n"), gold.replace("@@ -0,0 +1,2 @@\n", "@@ -0,0 +1,3 @@\n") + "+EOF_PATCH_0\n"):
        trajectory = played(ReplayAgent([replace(PAGER, steps=(as_call(gold_command(patch)),))]))
        assert "<returncode>0</returncode>" in trajectory.steps[1].observation
