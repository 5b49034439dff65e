"""stepgym/Decompose-v0: format × a frozen solver's success, solvers, and their cache."""

from __future__ import annotations

import math
import pickle
import threading
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import gymnasium as gym
import pytest

from stepgym import Attempt, Score, Status, Stop, Task
from stepgym.envs import CachedSolver, CalculatorSolver, DecomposeEnv, ThreadVectorEnv
from stepgym.errors import ConfigError, RewardError, TaskError
from stepgym.rewards.passing import pass_at_k
from stepgym.tasks import generate
from stepgym.tasks.helped import with_subquestions
from stepgym.tasks.subquestions import DECOMPOSE, format_subquestions

TASK = Task(id="half", prompt="What is 1/4 + 1/4?", answer="1/2", hint="Quarters.", subquestions=("gold?",))
GOOD = "<subquestion>How many quarters?\n<subquestion>Which half?</subquestion>"
SHOWN_TO_SOLVER = "What is 1/4 + 1/4?\nSub-questions:\n1. How many quarters?\n2. Which half?\n"
RIGHT, WRONG, BLANK = r"\boxed{0.5}", r"\boxed{3}", "no idea"


class Says:
    """A solver with given solutions, which keeps what it was asked."""

    def __init__(self, *solutions: str) -> None:
        self.solutions = solutions
        self.asked: list[Task] = []

    def __call__(self, task: Task, tries: int) -> Sequence[str]:
        self.asked.append(task)
        return self.solutions


def judged(*solutions: str, action: str = GOOD, **settings: Any) -> tuple[float, Score, dict[str, Any]]:
    env = DecomposeEnv([TASK], solver=Says(*solutions), tries=len(solutions) or 1, **settings)
    env.reset()
    _, reward, terminated, truncated, info = env.step(action)
    assert terminated != truncated, "one action is the whole episode"
    return reward, info["score"], info


def test_the_question_is_shown_with_what_to_do() -> None:
    env = DecomposeEnv([TASK])
    observation, info = env.reset()
    assert observation == DECOMPOSE.replace("{prompt}", TASK.prompt)
    assert observation.startswith(TASK.prompt)
    assert "<subquestion>" in observation
    assert info == {"task": "half"}
    assert env.step(GOOD)[0] == observation
    assert DecomposeEnv([TASK], template="{prompt}\nParts:").reset()[0] == "What is 1/4 + 1/4?\nParts:"


@pytest.mark.parametrize("level", [1, 3, 8])
def test_the_calculator_solves_what_is_well_decomposed_and_nothing_else(level: int) -> None:
    env = gym.make("stepgym/Decompose-v0", tasks=f"arithmetic?level={level}")
    for task in generate("arithmetic", count=40, level=level):
        env.reset(options={"task": task})
        _, reward, terminated, _, info = env.step(format_subquestions(task.subquestions))
        assert (reward, terminated, info["stop"]) == (1.0, True, Stop.ANSWERED), task
        env.reset(options={"task": task})
        *_, info = env.step("<subquestion>What is the value?<subquestion>Is it right?")
        assert (info["score"].value, info["score"].parts["format"]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("solutions", "k", "value"),
    [
        ((WRONG, WRONG, RIGHT, BLANK), None, 1.0),
        ((WRONG, WRONG, WRONG, BLANK), None, 0.0),
        ((WRONG, WRONG, RIGHT, BLANK), 1, 0.25),
        ((RIGHT, WRONG, RIGHT, BLANK), 2, pass_at_k(4, 2, 2)),
        ((WRONG, WRONG, RIGHT, BLANK), 4, 1.0),
    ],
)
def test_quality_is_the_solvers_success(solutions: tuple[str, ...], k: int | None, value: float) -> None:
    reward, score, info = judged(*solutions, k=k)
    assert reward == score.value == pytest.approx(value)
    assert score.parts == {
        "format": 1.0,
        "quality": reward,
        "subquestions": 2.0,
        "samples": 4.0,
        "graded": 4.0,
        "passed": float(solutions.count(RIGHT)),
    }
    assert info["stop"] is Stop.ANSWERED


def test_the_solver_is_given_the_question_with_the_sub_questions_and_the_verifier_the_bare_task() -> None:
    solver = Says(RIGHT, WRONG)
    seen: list[Attempt] = []

    def record(attempt: Attempt) -> Score:
        seen.append(attempt)
        return Score(0.0)

    env = DecomposeEnv([TASK], solver=solver, tries=2, reward=record)
    env.reset()
    env.step(GOOD)
    [asked] = solver.asked
    assert asked.prompt == SHOWN_TO_SOLVER
    assert (asked.id, asked.subquestions) == ("half", ("How many quarters?", "Which half?"))
    assert seen == [Attempt(task=TASK, text=RIGHT), Attempt(task=TASK, text=WRONG)]
    env = DecomposeEnv([TASK], solver=solver, tries=2, helped_template="{subquestions} >> {prompt}")
    env.reset()
    env.step(GOOD)
    assert solver.asked[1].prompt == "1. How many quarters?\n2. Which half? >> What is 1/4 + 1/4?"


@pytest.mark.parametrize(
    ("action", "why"),
    [
        ("", "0 characters"),
        (f"Sure. {GOOD}", "begin"),
        ("<subquestion>a<subquestion> ", "empty"),
        ("<subquestion>a<subquestion>b</subquestion></subquestion>", "another"),
        (r"\boxed{1/2}", "begin"),
    ],
)
def test_a_broken_format_earns_nothing_and_the_solver_is_not_asked(action: str, why: str) -> None:
    solver = Says(RIGHT)
    env = DecomposeEnv([TASK], solver=solver, tries=1)
    env.reset()
    assert not env.may_block(action)
    _, reward, terminated, _, info = env.step(action)
    assert (reward, terminated, solver.asked) == (0.0, True, [])
    assert (info["score"].parts, info["score"].status) == ({"format": 0.0}, Status.UNPARSABLE)
    assert why in info["score"].why


def test_waiting_is_announced_where_the_solver_will_be_asked() -> None:
    env = DecomposeEnv([TASK])
    assert (env.may_block(None), env.may_block("nothing"), env.may_block(GOOD)) == (False, False, True)


def test_a_solver_that_cannot_be_asked_leaves_the_attempt_ungraded() -> None:
    def dead(task: Task, tries: int) -> Sequence[str]:
        raise RewardError("the endpoint is gone")

    for solver, why in ((dead, "the endpoint is gone"), (Says(RIGHT), "gave 1 solutions of task 'half', not 4")):
        env = DecomposeEnv([TASK], solver=solver)
        env.reset()
        _, reward, terminated, truncated, info = env.step(GOOD)
        assert math.isnan(reward)
        assert (terminated, truncated, info["stop"]) == (False, True, Stop.UNGRADED)
        assert why in info["ungraded"]


def test_a_solution_that_cannot_be_judged_counts_only_where_it_could_have_decided() -> None:
    def verdict(attempt: Attempt) -> Score:
        return Score.ungraded("too slow") if attempt.text == BLANK else Score(float(attempt.text == RIGHT))

    reward, score, _ = judged(BLANK, RIGHT, reward=verdict)
    assert (reward, score.parts["graded"], score.parts["passed"]) == (1.0, 1.0, 1.0)
    reward, score, info = judged(BLANK, WRONG, reward=verdict)
    assert math.isnan(reward)
    assert "quality" not in score.parts
    assert info["stop"] is Stop.UNGRADED


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tries": 0}, "tries must be at least 1, got 0"),
        ({"solver": "calculator"}, "solver must be a Solver, got str"),
        ({"k": 0}, "k must lie between 1 and tries = 4, got 0"),
        ({"k": 5}, "k must lie between 1 and tries = 4, got 5"),
        ({"template": "Break it up."}, "lacks the placeholder {prompt}"),
        ({"helped_template": "{prompt}"}, "lacks the placeholder {subquestions}"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        DecomposeEnv([TASK], **settings)
    assert str(caught.value).endswith(message)


def test_a_task_without_an_answer_is_refused() -> None:
    with pytest.raises(TaskError, match="proof"):
        DecomposeEnv([TASK, Task(id="proof", prompt="Prove it.")])


class Counting:
    """Notes every question; answers once `gate` opens."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.prompts: list[str] = []
        self.gate = threading.Event()
        if is_open:
            self.gate.set()

    def __call__(self, task: Task, tries: int) -> Sequence[str]:
        self.prompts.append(task.prompt)
        assert self.gate.wait(30)
        if task.prompt == "fail":
            raise RewardError("no answer")
        return [f"{task.prompt} {i}" for i in range(tries)]


def asks(solver: Callable[[Task, int], Sequence[str]], prompt: str, tries: int = 2) -> Sequence[str]:
    return solver(Task(id="any", prompt=prompt), tries)


def test_the_same_content_is_solved_once() -> None:
    solver = Counting()
    cache = CachedSolver(solver)
    assert asks(cache, "a") == asks(cache, "a") == ("a 0", "a 1")
    assert asks(cache, "b") == ("b 0", "b 1")
    assert asks(cache, "a", 3) == ("a 0", "a 1", "a 2")
    assert solver.prompts == ["a", "b", "a"]


def test_the_cache_forgets_what_was_not_asked_for_longest() -> None:
    solver = Counting()
    cache = CachedSolver(solver, max_characters=20)  # an entry has 1 + 2 * 3 = 7
    for prompt in "abacba":
        asks(cache, prompt)
    assert solver.prompts == ["a", "b", "c", "b", "a"]
    asks(cache, "long" * 10)
    assert asks(cache, "a"), "larger than the cache: given, and not kept"
    assert solver.prompts[-2:] == ["long" * 10, "a"]


def in_threads(count: int, call: Callable[[int], Any]) -> list[Any]:
    results: list[Any] = [None] * count

    def run(index: int) -> None:
        try:
            results[index] = call(index)
        except Exception as error:
            results[index] = str(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("prompt", ["a", "fail"])
def test_one_asks_and_the_others_wait_for_its_answer(prompt: str) -> None:
    solver = Counting(is_open=False)
    cache = CachedSolver(solver)
    threading.Timer(0.2, solver.gate.set).start()
    results = in_threads(8, lambda _: asks(cache, prompt))
    assert results == [("a 0", "a 1") if prompt == "a" else "no answer"] * 8
    asked = len(solver.prompts)
    assert asked == 1 or prompt == "fail", "whoever comes after a failure asks again"
    in_threads(1, lambda _: asks(cache, prompt))
    assert len(solver.prompts) - asked == (prompt == "fail"), "failures are not kept"


def test_different_contents_are_solved_at_the_same_time_in_a_vector_of_environments() -> None:
    """Four solver calls that wait for each other, for eight environments with four different decompositions."""
    together = threading.Barrier(4)
    calls: list[str] = []

    def solver(task: Task, tries: int) -> Sequence[str]:
        calls.append(task.prompt)
        together.wait(timeout=30)
        return [RIGHT if "good" in task.prompt else WRONG] * tries

    cache = CachedSolver(solver)
    envs = gym.make_vec("stepgym/Decompose-v0", num_envs=8, tasks=[TASK], solver=cache, autoreset_mode="SameStep")
    assert isinstance(envs, ThreadVectorEnv)
    assert envs.spec is not None, "a spec copies the keywords, the solver among them"
    envs.reset(seed=0)
    actions = [f"<subquestion>{'good' if i % 4 == 1 else 'bad'} {i % 4}?" for i in range(8)]
    for _ in range(2):
        _, rewards, *_ = envs.step(actions)
        assert rewards.tolist() == [0.0, 1.0, 0.0, 0.0] * 2
    assert len(calls) == len(set(calls)) == 4
    envs.close()


def test_copies_share_the_solver_and_pickles_bring_it_along() -> None:
    solver = Says(RIGHT)
    env = DecomposeEnv([TASK], solver=solver, tries=1)
    env.reset()
    assert deepcopy(env).solver is solver
    env = DecomposeEnv([TASK], solver=CachedSolver(CalculatorSolver()))
    env.reset()
    again = pickle.loads(pickle.dumps(env))
    assert again.step("<subquestion>1/4 + 1/4?")[1] == env.step("<subquestion>1/4 + 1/4?")[1] == 1.0
    assert deepcopy(env).solver is env.solver


@pytest.mark.parametrize(
    ("lines", "answer"),
    [
        (["What is r1 = 7 - 2?", "What is r2 = r1 * (-3)?"], "-15"),
        (["(1 + 2) * 3 - 4/6"], "25/3"),
        (["2^3^2", "-2^2"], "-4"),
        (["2^-3"], "1/8"),
        (["7 - 2 = 6, is it?"], "5"),
        (["x = 5", "Then 2.5*x"], "25/2"),
        (["10 - 3 - 2"], "5"),
        (["-3 - -4"], "1"),
        (["1 + 1", "nothing here, in 3 words"], "2"),
        (["What is the answer?"], ""),
        (["y * 2"], ""),
        (["1/0 + 1"], ""),
        (["(1 + 2", "1 + 2)", "1 +", "2(3 + 1)"], ""),
        (["9^9^9", "0^-1", "2^(1/2)", "3²+1"], ""),
    ],
)
def test_the_calculator(lines: list[str], answer: str) -> None:
    task = with_subquestions(Task(id="t", prompt="Compute 6 * 7.", subquestions=tuple(lines)))
    first, second = CalculatorSolver()(task, 2)
    assert first == second
    assert first.rpartition("\n")[2] == (
        rf"The answer is \boxed{{{answer}}}." if answer else "There is nothing to calculate."
    )


@pytest.mark.parametrize(
    "line",
    [
        "(" * 900,
        "-" * 900 + "1",
        "9" * 900 + "*" + "9" * 90,
        "9^" * 400 + "9",
        "1+" * 450 + "1",
        "x=9^99*9^99 " * 80,
        "(1+" * 300,
    ],
    ids=["brackets", "signs", "digits", "powers", "sum", "names", "open"],
)
def test_no_line_stalls_the_calculator(line: str) -> None:
    task = with_subquestions(Task(id="t", prompt="p", subquestions=(line,) * 64))
    started = time.process_time()
    [solution] = CalculatorSolver()(task, 1)
    assert time.process_time() - started < 1.0
    assert len(solution) < 200_000
