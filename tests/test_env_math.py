"""stepgym/Math-v0: steps, answers, budgets, feedback, and real task sets."""

from __future__ import annotations

import math
import multiprocessing
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from stepgym import Attempt, Score, Status, Stop, Task
from stepgym.envs import MathEnv
from stepgym.envs.maths import INSTRUCTIONS
from stepgym.errors import ConfigError, TaskError, UnknownNameError

HALF = Task(id="half", prompt="What is 1/4 + 1/4?", answer=r"\frac{1}{2}")


def begun(**settings: Any) -> MathEnv:
    env = MathEnv([HALF], **settings)
    env.reset()
    return env


def test_a_solution_in_steps() -> None:
    env = MathEnv([HALF])
    first, _ = env.reset()
    assert first == f"{HALF.prompt}\n\n{INSTRUCTIONS}"
    second, reward, terminated, truncated, info = env.step("1/4 + 1/4 = 2/4.")
    assert second == f"{first}\n\nYour solution so far:\n1/4 + 1/4 = 2/4."
    assert (reward, terminated, truncated, info["score"].status) == (0.0, False, False, Status.GRADED)
    third, reward, terminated, truncated, info = env.step(r"So it is \boxed{0.5}.")
    assert third == f"{second}\nSo it is \\boxed{{0.5}}."
    assert (reward, terminated, truncated) == (1.0, True, False)
    assert (info["score"].status, info["stop"]) == (Status.CORRECT, Stop.ANSWERED)


def test_no_instructions_leaves_the_problem_alone() -> None:
    assert MathEnv([HALF], instructions="").reset()[0] == HALF.prompt


def test_the_gold_answer_is_never_shown() -> None:
    env = begun()
    shown = [env.reset()[0], *(env.step(text)[0] for text in ("a step", r"\boxed{3}"))]
    assert all(HALF.answer not in text for text in shown)


@pytest.mark.parametrize(
    ("action", "reward", "status", "stop"),
    [
        (r"2/4, so \boxed{\frac12}", 1.0, Status.CORRECT, Stop.ANSWERED),
        (r"\boxed{2}", 0.0, Status.WRONG, Stop.ANSWERED),
        ("The answer is 1/2.", 1.0, Status.CORRECT, Stop.ANSWERED),
        ("The answer is 1/3.", 0.0, Status.WRONG, Stop.STEP_LIMIT),
        ("", 0.0, Status.UNPARSABLE, Stop.STEP_LIMIT),
    ],
    ids=["right", "wrong", "right without a box", "wrong without a box", "nothing"],
)
def test_a_whole_solution_is_one_step(action: str, reward: float, status: Status, stop: Stop) -> None:
    _, earned, terminated, truncated, info = begun(max_steps=1).step(action)
    assert (earned, info["score"].status, info["stop"]) == (reward, status, stop)
    assert (terminated, truncated) == (stop is Stop.ANSWERED, stop is Stop.STEP_LIMIT)


def test_the_step_budget_without_an_answer_earns_zero() -> None:
    env = begun(max_steps=3)
    rewards = [env.step("Let me think about")[1] for _ in range(2)]
    _, reward, terminated, truncated, info = env.step("")
    assert [*rewards, reward] == [0.0, 0.0, 0.0]
    assert (terminated, truncated, info["stop"]) == (False, True, Stop.STEP_LIMIT)
    assert info["score"].status is Status.UNPARSABLE


@pytest.mark.parametrize(
    "solution",
    [
        [r"\boxed{1}", r"\boxed{1/2}"],
        [r"Either \boxed{1} or \boxed{\frac{1}{2}}."],
        [r"\boxed{1/2} \boxed{1/3}"],
        [r"It is \boxed{1/2}. No, wait: \boxed{7}"],
    ],
    ids=["over two steps", "a disjunction", "side by side", "a retraction"],
)
def test_several_answers_never_win(solution: list[str]) -> None:
    env = begun()
    for action in solution:
        _, reward, terminated, *_ = env.step(action)
        assert reward == 0.0
        if terminated:
            break
    else:
        pytest.fail("the first answer ends the episode")


def test_the_verifier_sees_the_answering_action_alone() -> None:
    seen: list[Attempt] = []

    def record(attempt: Attempt) -> Score:
        seen.append(attempt)
        return Score(1.0)

    env = begun(reward=record)
    env.step("a step")
    env.step(r"\boxed{4}")
    assert seen == [Attempt(task=HALF, text=r"\boxed{4}", index=1)]


def test_feedback_gives_more_tries_and_says_so() -> None:
    env = begun(feedback=1)
    observation, reward, terminated, truncated, info = env.step(r"\boxed{2}")
    assert observation.endswith("\\boxed{2}\nYour answer is not correct. Try again.")
    assert (reward, terminated, truncated, info["score"].status) == (0.0, False, False, Status.WRONG)
    _, reward, terminated, _, info = env.step(r"\boxed{1/2}")
    assert (reward, terminated, info["stop"]) == (1.0, True, Stop.ANSWERED)
    env.reset()
    env.step(r"\boxed{2}")
    _, reward, terminated, _, info = env.step(r"\boxed{3}")
    assert (reward, terminated, info["stop"]) == (0.0, True, Stop.ANSWERED)


def test_feedback_does_not_outlast_the_step_budget() -> None:
    env = begun(feedback=1, max_steps=2)
    env.step("a step")
    observation, _, terminated, _, info = env.step(r"\boxed{2}")
    assert (terminated, info["stop"]) == (True, Stop.ANSWERED)
    assert observation.endswith(r"\boxed{2}")


@pytest.mark.parametrize(("feedback", "max_steps"), [(-1, 8), (1, 1), (8, 8)])
def test_more_tries_than_steps_is_a_mistake(feedback: int, max_steps: int) -> None:
    with pytest.raises(ConfigError, match="feedback must lie between 0 and max_steps - 1"):
        MathEnv([HALF], feedback=feedback, max_steps=max_steps)


def test_an_ungraded_first_step_is_no_cause_for_a_warning() -> None:
    env = gym.make("stepgym/Math-v0", tasks=[HALF], reward=lambda attempt: Score.ungraded("no verdict"))
    env.reset()
    _, reward, _, truncated, info = env.step(r"\boxed{1/2}")
    assert math.isnan(reward)
    assert (truncated, info["ungraded"]) == (True, "no verdict")


def test_a_task_without_an_answer_is_refused_when_the_environment_is_made() -> None:
    with pytest.raises(TaskError, match="nothing"):
        MathEnv([HALF, Task(id="nothing", prompt="Prove it.")])


def test_an_unknown_task_set_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'arithmetic'"):
        gym.make("stepgym/Math-v0", tasks="aritmetic")


def test_a_task_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text('{"id": "one", "prompt": "What is 2 + 2?", "answer": "4"}\n', encoding="utf-8")
    for source in (file, str(file)):
        env = MathEnv(source)
        env.reset()
        assert env.step(r"\boxed{4}")[1] == 1.0


@pytest.mark.parametrize("name", ["aime24", "amc23", "math500", "gsm8k", "minerva_math", "olympiadbench"])
def test_benchmarks_by_name_are_solved_by_their_golds(name: str, data_dir: Path) -> None:
    env = gym.make("stepgym/Math-v0", tasks=name)
    base = env.unwrapped
    assert isinstance(base, MathEnv)
    for task in base.tasks[:20]:
        env.reset(options={"task": task.id})
        _, reward, *_, info = env.step(rf"The answer is \boxed{{{task.answer}}}.")
        assert reward == 1.0 or math.isnan(reward), (task.id, info)


def test_making_environments_over_a_large_set_is_quick(data_dir: Path) -> None:
    """The second to the fifty-first over 1,319 tasks take less than the budget of one."""
    gym.make("stepgym/Math-v0", tasks="gsm8k")
    started = time.process_time()
    for _ in range(50):
        gym.make("stepgym/Math-v0", tasks="gsm8k")
    assert (time.process_time() - started) / 50 < 0.1


def spin() -> None:
    while True:
        pass


def test_no_correct_answer_scores_zero_however_busy_the_machine_is() -> None:
    answers = {
        "0.5": "1/2",
        r"\frac{x+1}{2}": r"\frac{1}{2}x+\frac{1}{2}",
        r"\sqrt{8}": r"2\sqrt{2}",
        "(1, 2)": "(1,2)",
    }
    tasks = [Task(id=gold, prompt=gold, answer=gold) for gold in answers]
    load = [multiprocessing.get_context("spawn").Process(target=spin, daemon=True) for _ in range(4)]
    for process in load:
        process.start()
    envs = gym.make_vec("stepgym/Math-v0", num_envs=16, tasks=tasks, autoreset_mode="SameStep")
    try:
        _, infos = envs.reset(seed=0)
        right = 0
        for _ in range(4):
            actions = [rf"\boxed{{{answers[task]}}}" for task in infos["task"]]
            _, rewards, _, _, infos = envs.step(actions)
            assert not (rewards == 0.0).any(), infos["final_info"]
            right += int((rewards == 1.0).sum())
        assert right > 0
    finally:
        envs.close()
        for process in load:
            process.kill()
            process.join()


def test_64_environments_fit_into_200_megabytes() -> None:
    code = (
        "import gymnasium as gym, stepgym\n"
        "envs = gym.make_vec('stepgym/Math-v0', num_envs=64, autoreset_mode='SameStep')\n"
        "_, infos = envs.reset(seed=0)\n"
        "answers = {task.id: task.answer for task in envs.envs[0].unwrapped.tasks}\n"
        "for i in range(8):\n"
        "    envs.step(['a step of the solution'] * 64)\n"
        "    actions = [rf'\\boxed{{{answers[task]}}}' for task in infos['task']]\n"
        "    _, rewards, _, _, infos = envs.step(actions)\n"
        "    assert (rewards == 1.0).all()\n"
        "(peak,) = (line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(int(peak.split()[1]) // 1024)\n"  # getrusage's maximum would begin with that of the parent
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 200
