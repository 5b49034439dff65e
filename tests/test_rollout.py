"""The one loop, and many of them at a time."""

import asyncio
import math
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import gymnasium
import pytest

from stepgym.agents.chat import ChatAgent
from stepgym.agents.gold import GoldPolicy
from stepgym.agents.policy import Sampling
from stepgym.agents.rollout import Episode, rollout, rollout_all
from stepgym.agents.running import run_to_end
from stepgym.agents.scripted import ScriptedPolicy
from stepgym.envs import MathEnv, Outcome, TextEnv
from stepgym.errors import PolicyError, RewardError, SandboxError
from stepgym.records import Attempt, Message, Reply, Role, Score, Status, Stop, Task

TASKS = tuple(Task(id=str(i), prompt=f"What is {i}+1?", answer=str(i + 1), steps=("I add.",)) for i in range(20))


def exact(attempt: Attempt) -> Score:
    right = attempt.text.endswith(rf"\boxed{{{attempt.task.answer}}}.")
    return Score(float(right), status=Status.CORRECT if right else Status.WRONG)


class CountingEnv(TextEnv):
    """Ends after ``max_steps``; notes where it runs and what it is asked to do at a time."""

    open = 0
    made = 0

    def __init__(self, *, seconds: float = 0.0, blocks: bool = True, fails: str = "") -> None:
        super().__init__(TASKS, reward=exact, max_steps=3)
        self.seconds, self.blocks, self.fails = seconds, blocks, fails
        self.threads: set[int] = set()
        self.stepping = self.closed = False
        CountingEnv.open += 1
        CountingEnv.made += 1

    def begin(self) -> str:
        return self.task.prompt

    def advance(self, action: str) -> Outcome:
        self.stepping = True
        self.threads.add(threading.get_ident())
        time.sleep(self.seconds)
        self.stepping = False
        if action == self.fails:
            raise SandboxError("the container is gone")
        return Outcome(f"you said {action}", Score(0.5))

    def may_block(self, action: str | None) -> bool:
        return self.blocks

    def close(self) -> None:
        assert not self.stepping
        CountingEnv.open -= not self.closed
        self.closed = True
        super().close()


def play(env: gymnasium.Env[str, str], *replies: str, seed: int | None = None) -> Any:
    return asyncio.run(rollout(env, ChatAgent(ScriptedPolicy(*replies)), TASKS[0], seed=seed))


def test_every_step_is_recorded_with_what_was_seen() -> None:
    trajectory = play(CountingEnv(), "a", "b", "c")
    assert [step.observation for step in trajectory.steps] == ["What is 0+1?", "you said a", "you said b"]
    assert [step.reply.text for step in trajectory.steps] == ["a", "b", "c"]
    assert (trajectory.stop, trajectory.reward, trajectory.graded) == (Stop.STEP_LIMIT, 1.5, True)
    assert (trajectory.env, trajectory.agent) == ("CountingEnv", "chat:scripted")


def test_a_registered_environment_is_named_by_its_id() -> None:
    with gymnasium.make("stepgym/Math-v0", tasks=TASKS, reward=exact, max_steps=1) as env:
        trajectory = play(env, r"It is \boxed{1}.")
    assert (trajectory.env, trajectory.stop, trajectory.reward) == ("stepgym/Math-v0", Stop.ANSWERED, 1.0)
    assert trajectory.steps[0].score.status is Status.CORRECT


def test_what_breaks_is_kept_with_the_steps_before_it() -> None:
    trajectory = play(CountingEnv(fails="b"), "a", "b", "c")
    assert trajectory.stop is Stop.ERROR
    assert trajectory.error == "SandboxError: the container is gone"
    assert [step.reply.text for step in trajectory.steps] == ["a"]
    assert math.isnan(trajectory.reward)
    assert play(CountingEnv(), "a").error == "PolicyError: the script has ended after 1 replies"


def test_an_answer_that_cannot_be_graded_is_no_zero() -> None:
    def broken(attempt: Attempt) -> Score:
        raise RewardError("the grader died")

    trajectory = play(MathEnv(TASKS, reward=broken, max_steps=1), "x")
    assert (trajectory.stop, trajectory.graded) == (Stop.UNGRADED, False)
    assert math.isnan(trajectory.steps[0].score.value)
    assert trajectory.steps[0].score.why == "the grader died"


def test_a_bug_escapes() -> None:
    def bug(attempt: Attempt) -> Score:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        play(MathEnv(TASKS, reward=bug, max_steps=1), "x")


def test_a_wrapper_may_end_the_episode() -> None:
    trajectory = play(gymnasium.wrappers.TimeLimit(CountingEnv(), 2), "a", "b", "c")
    assert (len(trajectory.steps), trajectory.stop) == (2, Stop.STEP_LIMIT)


def test_threads_are_for_what_may_block() -> None:
    waiting, quick = CountingEnv(), CountingEnv(blocks=False)
    play(waiting, "a", "b", "c")
    play(quick, "a", "b", "c")
    assert threading.get_ident() not in waiting.threads
    assert quick.threads == {threading.get_ident()}


def test_each_turn_has_a_seed_and_an_episode_repeats_itself() -> None:
    class Dice:
        name = "dice"

        async def sample(self, messages: Sequence[Message], sampling: Sampling) -> Reply:
            return Reply(text=str(sampling.seed))

        async def close(self) -> None: ...

    async def texts(seed: int | None) -> list[str]:
        trajectory = await rollout(CountingEnv(), ChatAgent(Dice()), TASKS[0], seed=seed)
        return [step.reply.text for step in trajectory.steps]

    one, again, other = (asyncio.run(texts(seed)) for seed in (1, 1, 2))
    assert one == again
    assert len({*one, *other}) == 6
    assert asyncio.run(texts(None)) == ["None"] * 3


def test_many_are_streamed_as_they_finish_with_environments_reused() -> None:
    CountingEnv.made = CountingEnv.open = 0
    policy = ScriptedPolicy.by_function(lambda messages: messages[-1].content)
    order = []

    async def run() -> None:
        envs = iter([CountingEnv(seconds=0.2), *(CountingEnv(seconds=0.001) for _ in range(3))])
        episodes = [Episode(task=task, index=i) for task in TASKS for i in range(2)]
        async for finished in rollout_all(lambda: next(envs), lambda: ChatAgent(policy), episodes, concurrency=4):
            assert finished.trajectory.task is finished.episode.task
            assert finished.trajectory.steps[0].observation == finished.episode.task.prompt
            order.append((finished.episode.task.id, finished.episode.index))

    asyncio.run(run())
    assert len(set(order)) == len(order) == 40
    assert order[-1] == ("0", 0)  # the slow one was first to start
    assert (CountingEnv.made, CountingEnv.open) == (4, 0)


def test_a_broken_environment_is_replaced() -> None:
    CountingEnv.made = CountingEnv.open = 0
    replies = ScriptedPolicy.by_function(lambda messages: "bad" if "What is 3+1?" in messages[0].content else "good")

    async def run() -> list[Stop]:
        stream = rollout_all(
            lambda: CountingEnv(fails="bad"), lambda: ChatAgent(replies), map(to_episode, TASKS), concurrency=1
        )
        return [finished.trajectory.stop async for finished in stream]

    stops = asyncio.run(run())
    assert stops.count(Stop.ERROR) == 1
    assert len(stops) == 20
    assert (CountingEnv.made, CountingEnv.open) == (2, 0)


@pytest.mark.parametrize("how", ["close", "cancel", "bug"])
def test_ending_early_leaves_nothing_running_and_closes_every_environment(how: str) -> None:
    CountingEnv.made = CountingEnv.open = 0
    policy = ScriptedPolicy.by_function(lambda messages: "x")

    async def run() -> None:
        endless = (to_episode(TASKS[0]) for _ in iter(int, 1))
        make_env = lambda: CountingEnv(seconds=0.02)  # noqa: E731
        async with aclosing(rollout_all(make_env, lambda: ChatAgent(policy), endless, concurrency=8)) as stream:
            async for _ in stream:
                if how == "bug":
                    raise ZeroDivisionError
                if how == "close":
                    break

    async def cancelled() -> None:
        task = asyncio.create_task(run())
        await asyncio.sleep(0.15)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert CountingEnv.open == 0
        assert len(asyncio.all_tasks()) == 1

    if how == "cancel":
        asyncio.run(cancelled())
    elif how == "bug":
        with pytest.raises(ZeroDivisionError):
            asyncio.run(run())
    else:
        asyncio.run(run())
    assert CountingEnv.made == 8
    assert CountingEnv.open == 0


def test_a_bug_in_one_episode_stops_all() -> None:
    def policy(messages: Sequence[Message]) -> str:
        raise ZeroDivisionError

    async def run() -> None:
        agent = lambda: ChatAgent(ScriptedPolicy.by_function(policy))  # noqa: E731
        async for _ in rollout_all(CountingEnv, agent, map(to_episode, TASKS), concurrency=4):
            pass

    CountingEnv.open = 0
    with pytest.raises(ZeroDivisionError):
        asyncio.run(run())
    assert CountingEnv.open == 0


def test_environments_that_wait_for_one_another_are_released_when_one_breaks() -> None:
    free = threading.Event()

    class Waiting(CountingEnv):
        def advance(self, action: str) -> Outcome:
            if action == "bug":
                raise ZeroDivisionError
            assert free.wait(timeout=10)
            return super().advance(action)

    said = iter(["x", "x", "bug"])
    policy = ScriptedPolicy.by_function(lambda messages: next(said))

    async def run() -> None:
        episodes = [to_episode(TASKS[0]) for _ in range(3)]
        agent = lambda: ChatAgent(policy)  # noqa: E731
        async for _ in rollout_all(Waiting, agent, episodes, concurrency=3, release=free.set):
            pass

    started = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        asyncio.run(run())
    assert time.monotonic() - started < 5


def test_the_gold_policy_solves_everything_at_once_and_step_by_step() -> None:
    async def run(stepwise: bool) -> list[Any]:
        make_env = lambda: MathEnv(TASKS, reward=exact)  # noqa: E731
        policy = GoldPolicy(TASKS, stepwise=stepwise)
        stream = rollout_all(make_env, lambda: ChatAgent(policy), map(to_episode, TASKS))
        return [finished.trajectory async for finished in stream]

    for stepwise in (False, True):
        played = asyncio.run(run(stepwise))
        assert [trajectory.reward for trajectory in played] == [1.0] * 20
        assert {len(trajectory.steps) for trajectory in played} == {1 + stepwise}


def test_scripts() -> None:
    async def say(policy: ScriptedPolicy, text: str) -> str:
        return (await policy.sample([Message(Role.SYSTEM, "b"), Message(Role.USER, text)], Sampling())).text

    by_prompt = ScriptedPolicy.by_prompt({"a": ["1", "2"], "ab": "3"})
    assert [asyncio.run(say(by_prompt, text)) for text in ("see: a", "ab", "a")] == ["1", "3", "2"]
    with pytest.raises(PolicyError, match="the script has ended for 'a'"):
        asyncio.run(say(by_prompt, "a"))
    with pytest.raises(PolicyError, match="no reply to 'xyz'"):
        asyncio.run(say(by_prompt, "xyz"))


def test_the_chat_keeps_what_was_said() -> None:
    seen: list[list[Message]] = []

    def record(messages: Sequence[Message]) -> str:
        seen.append(list(messages))
        return "r"

    async def run(**settings: Any) -> list[list[str]]:
        seen.clear()
        agent = ChatAgent(ScriptedPolicy.by_function(record), system="s", **settings)
        await agent.act("o1")
        await agent.act("o2")
        agent.reset()
        await agent.act("o3")
        return [[message.content for message in messages] for messages in seen]

    assert asyncio.run(run()) == [["s", "o1"], ["s", "o1", "r", "o2"], ["s", "o3"]]
    assert asyncio.run(run(history=False)) == [["s", "o1"], ["s", "o2"], ["s", "o3"]]
    assert asyncio.run(run(suffix="!"))[1] == ["s", "o1!", "r", "o2!"]


def to_episode(task: Task) -> Episode:
    return Episode(task=task)


def test_work_runs_to_its_end_inside_a_running_loop_and_can_be_interrupted() -> None:
    events: list[str] = []

    async def work(seconds: float) -> str:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            events.append("cancelled")
            raise
        return "done"

    async def cell(seconds: float) -> str:
        return run_to_end(work(seconds))

    assert run_to_end(work(0.0)) == "done"
    assert asyncio.run(cell(0.01)) == "done"
    loop = asyncio.new_event_loop()  # as a notebook's: Ctrl-C comes out of the code that waits
    threading.Timer(0.3, signal.pthread_kill, [threading.get_ident(), signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(cell(60))
    loop.close()
    assert events == ["cancelled"]
