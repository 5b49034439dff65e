"""stepgym/ExpertStep-v0: what is shown, what is compared, what breaks the format, and walking a solution."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from stepgym import Attempt, Score, Stop, Task
from stepgym.envs import ExpertStepEnv
from stepgym.envs.expert_step import MALFORMED, StepReward
from stepgym.errors import ConfigError, RewardError, TaskError
from stepgym.rewards import SequenceSimilarity
from stepgym.tasks import load
from stepgym.tasks.expert_steps import step_instance, step_instances, whole_solution

STEPS = ("1. **Factor**: x(x - 2) = 0", "2. **Solve**: x = 2", "3. **Conclude**: \\boxed{2}")
TASK = Task(id="m", prompt="Solve.", answer="2", steps=STEPS)
LONE = Task(id="lone", prompt="?", steps=("one",))


def begun(task: Task | str = "m", **settings: Any) -> ExpertStepEnv:
    env = ExpertStepEnv([TASK], **settings)
    env.reset(options={"task": task})
    return env


def thought(step: str) -> str:
    return f"<think>Let me see.\nx * (x - 2)?</think>\n{step}\n"


def test_an_episode_is_one_instance() -> None:
    env = ExpertStepEnv([TASK], instructions="")
    second = step_instance(TASK, 2)
    observation, info = env.reset(options={"task": second})
    assert (observation, info) == (f"Solve.\n\nThe solution so far:\n{STEPS[0]}", {"task": "m#2"})
    shown, reward, terminated, truncated, info = env.step(thought(STEPS[1]))
    assert (shown, reward, terminated, truncated) == (observation, 1.0, True, False)
    assert (info["task"], info["stop"], info["score"].parts) == ("m#2", Stop.ANSWERED, {"format": 1.0})


def test_the_reward_is_the_similarity_of_what_follows_the_thought() -> None:
    action = "1. **Factor** out x"
    expected = SequenceSimilarity().ratio(action, STEPS[0])
    assert 0 < expected < 1
    for text in (thought(action), f"<think>{STEPS[0]}</think>{action}"):
        assert begun(step_instance(TASK, 1)).step(text)[1] == expected


def test_the_expert_s_later_steps_and_the_answer_are_never_shown() -> None:
    env = ExpertStepEnv([TASK], last=True)
    for k in (1, 2, 3):
        shown, _ = env.reset(options={"task": step_instance(TASK, k)})
        assert all((step in shown) == (index < k - 1) for index, step in enumerate(STEPS))
        assert "\\boxed" not in shown


@pytest.mark.parametrize(
    ("action", "why"),
    [
        (STEPS[0], "does not begin with '<think>'"),
        (f"<think>on and on {STEPS[0]}", "has '</think>' 0 times"),
        (f"Hm. <think>x</think>{STEPS[0]}", "does not begin with"),
        (f"<think>x</think><think>y</think>{STEPS[0]}", "has '<think>' 2 times"),
        (f"<think>x</think>{STEPS[0]}</think>", "has '</think>' 2 times"),
        (f"</think>{STEPS[0]}<think>", "does not begin with"),
        ("<think>x</think> \n", "nothing follows '</think>'"),
        (thought("\n".join(STEPS[:2])), "2 numbered steps, not one"),
        (thought("1. one\n2. two\n3. three"), "3 numbered steps, not one"),
        (thought("x" * 5_000), "characters, at most"),
        ("", "0 characters"),
    ],
)
def test_a_broken_format_earns_minus_one(action: str, why: str) -> None:
    _, reward, terminated, _, info = begun(step_instance(TASK, 1)).step(action)
    assert (reward, terminated) == (MALFORMED, True)
    assert why in info["score"].why


def test_without_thinking_the_whole_action_is_the_step() -> None:
    for k in (1, 2):
        env = begun(step_instance(TASK, k), think=False)
        assert "<think>" not in env.step(STEPS[k - 1])[0]
    env = begun(step_instance(TASK, 1), think=False)
    assert env.step(f"<think>x</think>{STEPS[0]}")[1] < 1.0
    assert begun(step_instance(TASK, 1), think=False).step(" ")[1] == MALFORMED


def test_a_whole_task_gives_each_of_its_instances() -> None:
    env = ExpertStepEnv([TASK])
    drawn = Counter(env.reset(seed=k, options={"task": "m"})[1]["task"] for k in range(60))
    assert set(drawn) == {"m#1", "m#2"}
    assert min(drawn.values()) > 15
    last = ExpertStepEnv([TASK], last=True)
    assert {last.reset(seed=k)[1]["task"] for k in range(60)} == {"m#1", "m#2", "m#3"}


def test_instances_are_tasks_too() -> None:
    instances = step_instances(TASK)
    env = ExpertStepEnv(instances)
    for instance in instances:
        assert env.reset(options={"task": instance.id})[1] == {"task": instance.id}
        assert env.step(thought(instance.steps[0]))[1] == 1.0


def test_titles_are_shown_and_not_compared() -> None:
    env = begun(step_instance(TASK, 2, titled=True), instructions="", titled=True)
    assert env.reset(options={"task": "m"})[0].endswith(("\n1. **Factor**:", "\n2. **Solve**:"))
    env = begun(step_instance(TASK, 2, titled=True))
    assert env.step(thought("x = 2"))[1] == 1.0


def test_a_walk_goes_on_from_the_experts_own_steps() -> None:
    env = ExpertStepEnv([TASK], walk=True, last=True, instructions="")
    observation, info = env.reset()
    assert (observation, info) == ("Solve.", {"task": "m"})
    rewards = []
    for k, action in enumerate([thought("nonsense"), thought(STEPS[1]), "no thought"], start=1):
        observation, reward, terminated, truncated, info = env.step(action)
        rewards.append(reward)
        assert (terminated, truncated, info["task"]) == (k == 3, False, "m")
        assert "nonsense" not in observation
        assert observation == step_instance(TASK, min(k + 1, 3)).prompt
    assert 0 <= rewards[0] < 0.5
    assert rewards[1:] == [1.0, MALFORMED]
    assert info["stop"] is Stop.ANSWERED


def test_a_copy_in_the_middle_of_a_walk_walks_on() -> None:
    env = begun(walk=True)
    env.step(thought("x"))
    copied = deepcopy(env)
    assert copied.step(thought(STEPS[1])) == env.step(thought(STEPS[1]))
    assert env.reset()[1] == copied.reset()[1]


def test_a_walk_keeps_the_budgets() -> None:
    env = begun(walk=True, last=True, max_steps=2)
    env.step(thought(STEPS[0]))
    assert env.step(thought(STEPS[1]))[4]["stop"] is Stop.STEP_LIMIT
    _, reward, _, truncated, info = begun(walk=True, max_characters=10).step(thought(STEPS[0]))
    assert (reward, truncated, info["stop"]) == (0.0, True, Stop.CHARACTER_LIMIT)


def test_a_whole_solution_in_one_step() -> None:
    env = begun(whole=True)
    shown, info = env.reset()
    assert info["task"] == "m#whole"
    assert "Write its solution" in shown
    assert env.step(thought("\n".join(STEPS)))[1] == 1.0
    plain = begun(whole_solution(TASK))
    assert "Write its solution" in plain.reset(options={"task": whole_solution(TASK)})[0]
    assert plain.step(thought("\n".join(STEPS)))[1] == 1.0
    assert ExpertStepEnv([LONE], whole=True, think=False).reset()[1]["task"] == "lone#whole"


def test_instructions() -> None:
    assert begun().reset()[0].startswith("You will be given a problem")
    assert "<think> your thoughts </think> the next step" in begun().reset()[0]
    assert "<think>" not in begun(think=False).reset()[0]
    assert begun(instructions="Go.").reset(options={"task": step_instance(TASK, 1)})[0] == "Go.\n\nSolve."


def test_addition_reads_like_a_solution_being_written() -> None:
    env = gym.make("stepgym/ExpertStep-v0", tasks="addition?level=4&count=8", instructions="", think=False)
    for seed in range(20):
        observation, info = env.reset(seed=seed)
        task = next(t for t in load("addition?level=4&count=8") if info["task"].startswith(t.id))
        assert (task.prompt + "".join(task.steps)).startswith(observation)
        target = task.steps[int(info["task"].rpartition("#")[2]) - 1]
        assert env.step(target)[1] == 1.0


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"tasks": [TASK, LONE]}, TaskError, "task 'lone' has one expert step, and the last step is no target"),
        ({"tasks": [Task(id="bare", prompt="?")]}, TaskError, "'bare' has no expert steps; `stepgym annotate steps"),
        ({"tasks": [Task(id="b", prompt="?")], "whole": True}, TaskError, "'b' has no expert steps; `stepgym annotate"),
        ({"titled": True, "tasks": "arithmetic?level=2"}, TaskError, "expert step 1 has no title"),
        ({"whole": True, "walk": True}, ConfigError, "neither last, titled nor walk"),
        ({"reward": None}, ConfigError, "reward must be a Reward or the name of one, got NoneType"),
        ({"max_steps": 0}, ConfigError, "max_steps must be at least 1"),
    ],
)
def test_what_cannot_work_is_refused_at_once(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ExpertStepEnv(**({"tasks": [TASK]} | settings))


def test_a_task_without_steps_is_refused_at_reset_too() -> None:
    with pytest.raises(TaskError, match="'bare' has no expert steps"):
        begun().reset(options={"task": Task(id="bare", prompt="?")})


def test_another_reward_judges_the_step_alone_and_may_refuse() -> None:
    seen: list[Attempt] = []

    def judge(attempt: Attempt) -> Score:
        seen.append(attempt)
        if attempt.text == "break":
            raise RewardError("the grader's process died")
        return Score(0.5, {"likes": 0.5})

    env = begun(step_instance(TASK, 1), reward=judge)
    score = env.step(thought("a step"))[4]["score"]
    assert (score.value, score.parts) == (0.5, {"format": 1.0, "likes": 0.5})
    assert (seen[0].text, seen[0].index, seen[0].task.id) == ("a step", 0, "m#1")
    env.reset()
    assert env.step(thought("break"))[4]["ungraded"] == "the grader's process died"
    assert env.may_block("x")
    assert not begun().may_block("x")


def test_the_task_set_is_checked_once_for_many_environments() -> None:
    tasks = load("arithmetic?level=3&count=64")
    first, second = ExpertStepEnv(tasks), ExpertStepEnv(tasks)
    assert first.reward == second.reward == StepReward(reward=SequenceSimilarity())
    assert first.tasks == second.tasks


@pytest.mark.parametrize("source", ["s1k", "gsm8k", "runs"])
def test_the_expert_s_own_step_always_earns_one(source: str, data_dir: Path) -> None:
    place = data_dir / "swe" / "trajectories"
    if source == "runs" and not place.exists():
        pytest.skip(f"no recorded runs: {place}")
    tasks = [task for task in load(place if source == "runs" else source) if task.steps][:300]
    reward = StepReward(reward=SequenceSimilarity())
    for task in tasks:
        for instance in (*step_instances(task), whole_solution(task)):
            score = reward(Attempt(task=instance, text=thought(instance.steps[0])))
            assert score.value == 1.0, (instance.id, score)


def test_an_expert_s_list_may_be_imitated() -> None:
    listing = "1. x\n2. y"
    task = replace(step_instance(TASK, 1), steps=(listing,))
    reward = StepReward(reward=SequenceSimilarity())
    assert reward(Attempt(task=task, text=thought(listing))).value == 1.0
    assert reward(Attempt(task=task, text=thought(f"{listing}\n3. z"))).value == MALFORMED


def test_software_engineering_steps(data_dir: Path) -> None:
    place = data_dir / "swe" / "trajectories" / "mini_swe_agent"
    if not place.exists():
        pytest.skip(f"no recorded runs: {place}")
    env = ExpertStepEnv(place, walk=True)
    observation, info = env.reset(options={"task": "pallets__flask-5014"})
    task = next(task for task in env.tasks if task.id == info["task"])
    rewards = []
    while True:
        target = task.steps[env.index]
        assert observation.count("\nOutput:\n") == min(env.index, 2)
        observation, reward, terminated, truncated, _ = env.step(thought(target))
        rewards.append(reward)
        if terminated or truncated:
            break
    assert rewards == [1.0] * 19
