"""The roles: what they are told, what is read out of their replies, and the solver that judges decompositions."""

from __future__ import annotations

import asyncio
import copy
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gymnasium
import pytest

from stepgym.agents import (
    BatchingPolicy,
    Decomposer,
    Guide,
    NextStepAgent,
    PolicySolver,
    Reasoner,
    Rejection,
    Sampling,
    ScriptedPolicy,
    StepRewriter,
    annotate_task,
    gives_away,
)
from stepgym.agents.batching import Chat
from stepgym.agents.number_words import in_digits
from stepgym.agents.reasoner import REASON
from stepgym.agents.rewriter import EXAMPLES
from stepgym.agents.rollout import rollout
from stepgym.envs.solver import CachedSolver
from stepgym.errors import ConfigError, PolicyError, RewardError
from stepgym.records import Message, Reply, Role, Stop, Task
from stepgym.tasks import generate, load
from stepgym.tasks.helped import with_subquestions
from stepgym.tasks.reference import last_step, reference_solution

DUCKS = Task(
    id="ducks",
    prompt="Janet's ducks lay 16 eggs a day. She eats three and bakes with four. The rest sell at $2 each. How much?",
    answer="18",
    steps=("She sells 16 - 3 - 4 = 9 eggs.", r"She makes 9 * 2 = $18 a day. The answer is \boxed{18}."),
)


class Recording:
    """A real policy that keeps what it was asked, and says `replies` one after the other, then the last for ever."""

    name = "recording"

    def __init__(self, *replies: str | Reply) -> None:
        self.replies = [Reply(text=reply) if isinstance(reply, str) else reply for reply in replies]
        self.chats: list[list[Message]] = []
        self.samplings: list[Sampling] = []

    async def sample(self, messages: Sequence[Message], sampling: Sampling) -> Reply:
        self.chats.append(list(messages))
        self.samplings.append(sampling)
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    async def close(self) -> None:
        pass


# ---------------------------------------------------------------------------------------------------------------- hints


@pytest.mark.parametrize(
    ("hint", "answer"),
    [
        ("She makes 18 dollars in the end, so check.", "18"),
        ("There are eighteen of them, if you count well.", "18"),
        ("There are １８ of them, and 1\u200b8 it stays.", "18"),
        ("It is a hundred and eighty degrees, you see, all in all.", "180"),
        ("Compute 9 * 2 at the end and then look.", "18"),
        (r"Then comes $9 \times 2$, and you are there soon.", "18"),
        ("Put 36/2 into the equation and see what happens.", "18"),
        ("There are 3!*3 ways, which you can count.", "18"),
        ("It has 18.0 of them, as you can check.", "18"),
        ("Try N = 18 and show that it works.", "18"),
        ("Consider minus fifty-four as a candidate first.", "-54"),
        ("Subtract to get -54 and check the sign.", "-54"),
        ("About 50% of them are left, and you go on.", r"\frac{1}{2}"),
        ("A half of them is left, and you go on.", "0.5"),
        ("Two thirds of them are left, and you go on.", r"\frac{2}{3}"),
        ("It comes to 0.667 or so, and you go on.", r"\frac{2}{3}"),
        ("It is about 1.414 and then you know.", r"\sqrt{2}"),
        ("The number 1,234,567 has the property, so prove it.", "1234567"),
        (r"So the pair is \left(3, -1\right) and you can check it.", "(3, -1)"),
        ("First show x = 3, then that y = -1, and put both into the equations to see that they hold.", "(3, -1)"),
        (r"The sum is $-q + p$ and the rest is easy.", "p - q"),
        ("Look at the interval where 1 < x < 4 and test it.", "(1, 4)"),
        ("It falls on a Tuesday, which you can check.", "Tuesday"),
        ("Option (B) is right, and you should see why.", "B"),
        (r"Try \boxed{7}.", "18"),
        ("The answer is one.", "1"),
    ],
)
def test_a_hint_that_contains_the_answer_in_any_form_gives_it_away(hint: str, answer: str) -> None:
    assert gives_away(hint, Task(id="t", prompt="How many are there?", answer=answer))


@pytest.mark.parametrize(
    ("hint", "answer"),
    [
        ("First find how many eggs are left to sell.", "18"),
        ("There are 180 parts and 118 of them are whole; 1.8 is no use.", "18"),
        ("Use $x^2 - y^2 = (x - y)(x + y)$ with the 2x term.", "2"),
        ("One can factor the left side, and everyone often does.", "1"),
        ("A triangle can be cut into smaller ones.", "A"),
        ("Nobody knows yet whether this works.", "no"),
        (r"Write $\sqrt{8}$ with a smaller root.", r"\sqrt{2}"),
        ("The value of x lies above 3.", "(3, -1)"),
    ],
)
def test_a_hint_without_the_answer_passes(hint: str, answer: str) -> None:
    assert gives_away(hint, Task(id="t", prompt="How many are there?", answer=answer)) == ""


def test_what_stands_in_the_problem_may_stand_in_the_hint_unless_it_is_concluded() -> None:
    task = Task(id="t", prompt="Of 2 cats and six dogs, how many are cats?", answer="2")
    assert gives_away("Look at the two cats and the 6 dogs one after the other.", task) == ""
    assert gives_away("Count the cats; the answer is 2.", task)
    assert gives_away("Let n = 2 be their number, then go on.", task)
    half = Task(id="t", prompt="Write 1/2 as a decimal.", answer="0.5")
    assert gives_away("Divide 1 by 2 with a point after the one.", half) == ""
    assert gives_away("Note that 0.5 is what comes out when you divide.", half)


def test_the_end_of_the_solution_may_not_be_copied() -> None:
    proof = Task(id="p", prompt="Show it.", steps=("Let n be odd.", "Then n^2 is odd, as was to be shown."))
    assert gives_away("Then n^2  is odd, as was to be shown", proof) == "repeats the last step of the solution"
    assert gives_away("Let n be odd, and square it.", proof) == ""
    told = Task(
        id="q", prompt="?", meta={"solution": "We see.\n\nSo a = 3x + 4y + 5z - 17w - 25v + 12t + 31s and b = 7u."}
    )
    assert gives_away("Set 3x + 4y + 5z - 17w - 25v + 12t + 31s equal to it.", told) == "copies the end of the solution"
    assert gives_away("Set 3x + 4y equal to it.", told) == ""


def test_hints_that_come_with_the_tasks_pass_and_last_steps_do_not() -> None:
    for task in load("worked"):
        assert gives_away(task.hint, task) == "", task.id
        assert gives_away(task.steps[-1], task), task.id
    for family in ("addition", "arithmetic", "equations"):
        for task in generate(family, count=100, level=3):
            assert gives_away(task.hint, task) == "", task
            assert gives_away(task.steps[-1], task), task


@pytest.mark.parametrize("name", ["aime25", "gsm8k", "math500"])
def test_gold_answers_of_benchmarks_are_found_in_hints(name: str, data_dir: Path) -> None:
    assert data_dir
    for task in load(name, limit=150):
        hint = f"Show first that the total is $T = {task.answer}$, by looking at each of the parts, and then explain."
        assert gives_away(hint, task), task
    if name == "gsm8k":  # what a first step says is mostly no answer, and what it asks is none at all
        long = [task for task in load("gsm8k") if len(task.steps) > 2]
        assert sum(bool(gives_away(task.steps[0], task)) for task in long) < 0.03 * len(long)
        asked = load("gsm8k_socratic")
        assert sum(bool(gives_away(" ".join(task.subquestions), task)) for task in asked) < 0.01 * len(asked)


@pytest.mark.parametrize(
    "hint",
    [
        "(" * 4000,
        "one " * 1000,
        "million " * 499,
        "2^" * 1999,
        r"\frac{" * 600,
        r"\boxed{" * 500,
        "9" * 3999,
        "1/" * 1999,
        " ".join(f"$x^{{{n}}}+{n}$," for n in range(230)),
        " ".join(f"sqrt({n})+sqrt({n + 1})=" for n in range(150)),
        "3, " * 1300,
        "a" * 100_000,
    ],
    ids=lambda hint: hint[:12],
)
def test_a_hostile_hint_is_checked_in_bounded_time(hint: str) -> None:
    started = time.monotonic()
    gives_away(hint, Task(id="t", prompt="2^" * 5000, answer=r"\sqrt{2}+\sqrt{3}", steps=("x^2+" * 9999,)))
    assert time.monotonic() - started < 8


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("Twenty-one, five hundred and forty", "21, 540"),
        ("three million two hundred thousand and six", "3200006"),
        ("hundred one two minus three", "101 2 -3"),
        ("two thirds, one half, half, a quarter", "2/3, 1/2, 1/2, a quarter"),
        ("one of them, someone, none, often, tension", "1 of them, someone, none, often, tension"),
        ("the twenty-fifth day", "the 20 fifth day"),
    ],
)
def test_number_words(text: str, digits: str) -> None:
    assert in_digits(text) == digits


def test_a_lone_one_may_be_a_pronoun() -> None:
    assert in_digits("one sees twenty-one, one half", lone_one=False) == "one sees 21, 1/2"


def test_the_guide_sees_the_solution_and_its_hint_is_checked() -> None:
    guide = Guide()
    messages = guide.messages(DUCKS)
    assert not isinstance(messages, Rejection)
    assert [message.role for message in messages] == [Role.SYSTEM, Role.USER]
    for part in (DUCKS.prompt, *DUCKS.steps, "Final answer:\n18"):
        assert part in messages[1].content
    written = guide.read(DUCKS, " Hint: How many eggs are left to sell? ")
    assert isinstance(written, Task)
    assert (written.hint, written.steps) == ("How many eggs are left to sell?", DUCKS.steps)
    for reply, why in [
        ("", "empty"),
        ("Hint: ", "empty"),
        ("word " * 400, "too long"),
        ("She makes $18.", "gives the answer away"),
    ]:
        read = guide.read(DUCKS, reply)
        assert isinstance(read, Rejection)
        assert read.why == why
    assert guide.messages(Task(id="t", prompt="p")) == Rejection("no solution and no answer to write a hint from")
    assert "Solution" not in guide.messages(Task(id="t", prompt="p", answer="1"))[1].content  # type: ignore[union-attr]


def test_the_reference_solution_is_where_the_task_keeps_it() -> None:
    told = Task(id="t", prompt="p", answer="18", meta={"solution": "First.\n\nThen 18."})
    assert (reference_solution(told), last_step(told)) == ("First.\n\nThen 18.", "Then 18.")
    assert (reference_solution(DUCKS), last_step(DUCKS)) == ("\n".join(DUCKS.steps), DUCKS.steps[-1])
    assert reference_solution(Task(id="t", prompt="p", answer="18", meta={"solution": "18 "})) == ""
    (added,) = generate("addition", count=1)
    assert reference_solution(added) == "".join(added.steps)


# ---------------------------------------------------------------------------------------- decompositions and rewritings


def test_a_decomposer_is_told_what_its_environment_shows_and_accepts_what_that_rewards() -> None:
    env = gymnasium.make("stepgym/Decompose-v0")
    for task in load("arithmetic?count=5"):
        (message,) = Decomposer().messages(task)
        observation, _ = env.reset(options={"task": task})
        assert (message.role, message.content) == (Role.USER, observation)
        reply = "".join(f"<subquestion>{question}" for question in task.subquestions)
        *_, info = env.step(reply)
        assert info["score"].value == 1
        bare = Task(id=task.id, prompt=task.prompt, answer=task.answer)
        read = Decomposer().read(bare, reply)
        assert isinstance(read, Task)
        assert read.subquestions == task.subquestions
    env.close()
    with pytest.raises(ConfigError, match="lacks the placeholder"):
        Decomposer("no place for a problem")


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("What is left?", "breaks the format of sub-questions"),
        ("First: <subquestion>What is left?", "breaks the format of sub-questions"),
        ("<subquestion>What is left? <subquestion> ", "breaks the format of sub-questions"),
        ("<subquestion>What is left?", ""),
        (r"<subquestion>What is left? \boxed{18}", "contains a final answer"),
        ("<subquestion>How many? The ANSWER is 18.", "contains a final answer"),
        ("<subquestion>How many? Answer: 18", "contains a final answer"),
    ],
)
def test_a_decomposition_keeps_the_format_and_does_not_answer(reply: str, why: str) -> None:
    read = Decomposer().read(DUCKS, reply)
    assert (read.why if isinstance(read, Rejection) else "") == why


STEPS = "SOLUTION:\n1. **Count the eggs** $16 - 3 - 4 = 9$.\n2. **Find the price**\n$9 * 2 = \\boxed{18}$."


def test_a_rewriting_keeps_its_titles_and_the_answer() -> None:
    read = StepRewriter().read(DUCKS, STEPS)
    assert isinstance(read, Task)
    assert read.steps == (
        "1. **Count the eggs** $16 - 3 - 4 = 9$.",
        "2. **Find the price**\n$9 * 2 = \\boxed{18}$.",
    )


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (("{18}", "{19}"), "loses the final answer"),
        (("$9 * 2 = \\boxed{18}$.", "it is done."), "loses the final answer"),
        (("2. **Find the price**\n", ""), "fewer than two numbered, titled steps"),
        (("2. **", "3. **"), "breaks the format of steps"),
        (("1. **", "Well.\n1. **"), "breaks the format of steps"),
        ((" $16 - 3 - 4 = 9$.", ""), "breaks the format of steps"),
        (("**Count the eggs**", "Count the eggs"), "breaks the format of steps"),
    ],
)
def test_a_rewriting_that_does_not_conform_is_discarded(changed: tuple[str, str], why: str) -> None:
    text = STEPS.replace(*changed)
    assert text != STEPS
    read = StepRewriter().read(DUCKS, text)
    assert isinstance(read, Rejection)
    assert read.why == why


def test_the_rewriter_shows_two_examples_that_conform() -> None:
    messages = StepRewriter().messages(DUCKS)
    assert not isinstance(messages, Rejection)
    assert messages[1:-1] == list(EXAMPLES)
    assert [message.role for message in messages[1:]] == [
        Role.USER,
        Role.ASSISTANT,
        Role.USER,
        Role.ASSISTANT,
        Role.USER,
    ]
    for message, answer in zip(EXAMPLES[1::2], ("18", "3"), strict=True):
        read = StepRewriter().read(Task(id="e", prompt="p", answer=answer), message.content)
        assert isinstance(read, Task)
        assert len(read.steps) == 4
    assert DUCKS.steps[0] in messages[-1].content
    assert StepRewriter().messages(Task(id="t", prompt="p", answer="1")) == Rejection("no solution to rewrite")


# ------------------------------------------------------------------------------------------------- asking until it fits


def test_the_reason_of_a_rejection_goes_into_the_next_try() -> None:
    policy = Recording("It is 18.", "Still 18.", "<think>18!</think>Count what is left.")
    written = asyncio.run(annotate_task(policy, Guide(), DUCKS, seed=3))
    assert (written.task.hint, written.rejection) == ("Count what is left.", None)
    first, second, third = policy.chats
    assert second[:-2] == third[:-2] == first
    assert (second[-2], third[-2]) == (Message(Role.ASSISTANT, "It is 18."), Message(Role.ASSISTANT, "Still 18."))
    assert "gives the answer away" in third[-1].content
    seeds = [sampling.seed for sampling in policy.samplings]
    assert len(set(seeds)) == 3
    again = Recording("It is 18.", "Still 18.", "Count what is left.")
    asyncio.run(annotate_task(again, Guide(), DUCKS, seed=3))
    assert [sampling.seed for sampling in again.samplings] == seeds


def test_a_task_is_given_up_after_the_last_try() -> None:
    policy = Recording("It is 18.")
    written = asyncio.run(annotate_task(policy, Guide(), DUCKS, tries=2, feedback=False))
    assert written.task == DUCKS
    assert written.rejection is not None
    assert written.rejection.why == "gives the answer away"
    assert policy.chats[0] == policy.chats[1]
    with pytest.raises(ConfigError, match="tries must be at least 1"):
        asyncio.run(annotate_task(policy, Guide(), DUCKS, tries=0))


def test_a_reply_that_was_cut_off_is_rejected_and_a_hopeless_task_costs_nothing() -> None:
    policy = Recording(Reply(text="Count what", finished=False))
    written = asyncio.run(annotate_task(policy, Guide(), DUCKS, tries=1, sampling=Sampling(max_tokens=2)))
    assert written.rejection == Rejection("cut off", "longer than 2 tokens")
    hopeless = asyncio.run(annotate_task(policy, StepRewriter(), Task(id="t", prompt="p", answer="1")))
    assert hopeless.rejection == Rejection("no solution to rewrite")
    assert len(policy.chats) == 1


# --------------------------------------------------------------------------------------------------------------- agents


def test_the_reasoner_answers_each_observation_on_its_own() -> None:
    (task,) = load("arithmetic?count=1")
    policy = Recording(r"\boxed{0.123}", rf"\boxed{{{task.answer}}}")
    env = gymnasium.make("stepgym/Guided-v0", tasks=[task])
    trajectory = asyncio.run(rollout(env, Reasoner(policy), task, seed=1))
    env.close()
    assert (trajectory.reward, trajectory.stop) == (1.0, Stop.ANSWERED)
    assert trajectory.agent == "reasoner:recording"
    system = Message(Role.SYSTEM, REASON)
    assert policy.chats[0] == [system, Message(Role.USER, task.prompt)]
    assert len(policy.chats[1]) == 2
    assert task.hint in policy.chats[1][1].content


def test_the_step_agent_does_not_see_its_thoughts_again() -> None:
    task = Task(id="t", prompt="What is (1 + 2) * 3?", answer="9")
    policy = Recording("<think>1 + 2, easy</think> 1 + 2 = 3.", "<think>times 3</think>\n\nSo \\boxed{9}.")
    env = gymnasium.make("stepgym/Math-v0", tasks=[task])
    agent = NextStepAgent(policy)
    for _ in range(2):
        policy.replies = [Reply(text="<think>easy</think> 1 + 2 = 3."), Reply(text="<think>times 3</think> \\boxed{9}")]
        trajectory = asyncio.run(rollout(env, agent, task, seed=1))
        assert (trajectory.reward, trajectory.agent) == (1.0, "next-step:recording")
        assert "<think>easy</think>" in trajectory.steps[1].observation  # the environment repeats the whole action
        assert policy.chats[-1][0].role is Role.SYSTEM
        shown = policy.chats[-1][-1].content
        assert "easy" not in shown
        assert shown.endswith("Your solution so far:\n1 + 2 = 3.")
    env.close()


def test_the_step_agent_earns_full_marks_for_the_experts_step() -> None:
    env = gymnasium.make("stepgym/ExpertStep-v0", tasks=[DUCKS])
    policy = Recording(f"<think>what is left?</think>{DUCKS.steps[0]}")
    trajectory = asyncio.run(rollout(env, NextStepAgent(policy, system=""), DUCKS, seed=1))
    env.close()
    assert trajectory.reward == 1.0
    (shown,) = policy.chats[0]
    assert "<think>" in shown.content  # the environment gives the instructions


# --------------------------------------------------------------------------------------------------------------- solver


class Batches(BatchingPolicy):
    """Says its seed; keeps the sizes of its batches. Slow enough for calls to collect."""

    name = "batches"

    def __init__(self) -> None:
        super().__init__(max_batch=256)
        self.sizes: list[int] = []
        self.release = threading.Event()
        self.release.set()

    def sample_batch(self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int | None]) -> list[Reply]:
        self.sizes.append(len(chats))
        time.sleep(0.05)
        self.release.wait(10)
        return [Reply(text=f"{chat[-1].content} {seed}") for chat, seed in zip(chats, seeds, strict=True)]


def tasks_to_solve(count: int) -> list[Task]:
    return [Task(id=f"t{i}", prompt=f"p{i}", answer="1") for i in range(count)]


def solver_threads() -> int:
    return sum(thread.name == "stepgym-solver" for thread in threading.enumerate())


def test_calls_from_many_threads_reach_the_policy_together_and_repeat() -> None:
    policy = Batches()
    with PolicySolver(policy, seed=5) as solver, ThreadPoolExecutor(16) as pool:
        first = list(pool.map(lambda task: solver(task, 4), tasks_to_solve(16)))
        assert sum(policy.sizes) == 64
        assert max(policy.sizes) >= 32, policy.sizes
        assert all(text.startswith(f"p{i} ") for i, texts in enumerate(first) for text in texts)
        assert len({text for texts in first for text in texts}) == 64
        assert solver(Task(id="another", prompt="p3", answer="2"), 4) == first[3]  # of the prompt, and nothing else
        assert list(solver(tasks_to_solve(4)[3], 2)) == list(first[3])[:2]
    assert solver_threads() == 0
    with PolicySolver(policy, seed=6) as other:
        assert other(tasks_to_solve(1)[0], 1) != first[0][:1]


def test_a_closed_solver_lets_nobody_wait_and_can_be_used_again() -> None:
    policy = Batches()
    policy.release.clear()
    solver = PolicySolver(policy)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(solver, tasks_to_solve(1)[0], 1)
        while not policy.sizes:
            time.sleep(0.01)
        threading.Timer(0.1, policy.release.set).start()
        solver.close()
        solver.close()
        with pytest.raises(RewardError, match="the solver was closed"):
            waiting.result(10)
    assert solver_threads() == 0
    assert len(solver(tasks_to_solve(1)[0], 1)) == 1
    solver.close()
    assert solver_threads() == 0


def test_a_policy_that_fails_leaves_the_attempt_ungraded() -> None:
    def fails(chat: Sequence[Message]) -> str:
        raise PolicyError("nobody is there")

    (task,) = load("arithmetic?count=1")
    with PolicySolver(ScriptedPolicy.by_function(fails)) as solver:
        with pytest.raises(RewardError, match="the solver failed: nobody is there"):
            solver(task, 2)
        env = gymnasium.make("stepgym/Decompose-v0", tasks=[task], solver=solver)
        env.reset()
        *_, truncated, info = env.step("<subquestion>What comes first?")
        assert (truncated, info["stop"]) == (True, Stop.UNGRADED)
        env.close()


def test_a_policy_judges_decompositions_once_for_each_content() -> None:
    (task,) = load("arithmetic?count=1")
    policy = Recording("I do not know.", rf"\boxed{{{task.answer}}}")
    solver = PolicySolver(policy)
    env = gymnasium.make("stepgym/Decompose-v0", tasks=[task], solver=CachedSolver(solver), tries=2)
    assert copy.deepcopy(solver) is solver
    assert env.spec is not None  # gymnasium copies the keyword arguments with it
    copy.deepcopy(env.spec)
    reply = "<subquestion>What comes first?"
    for _ in range(2):
        env.reset()
        _, reward, *_ = env.step(reply)
        assert reward == 1
    env.close()
    solver.close()
    helped = with_subquestions(Task(id="t", prompt=task.prompt, subquestions=("What comes first?",)))
    assert policy.chats == [[Message(Role.SYSTEM, REASON), Message(Role.USER, helped.prompt)]] * 2
