"""Episodes in a rollout actor: a real vLLM engine in a real Ray actor, with OpenRLHF's class under ours."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from stepgym.agents.policy import Sampling
from stepgym.agents.scripted import ScriptedPolicy
from stepgym.errors import ConfigError, PolicyError
from stepgym.records import Message, Reply, Score, Step, Stop, Task, Trajectory
from stepgym.tasks import load
from stepgym.trainers.cluster.rollouts.agent_settings import VARIABLE, AgentSettings
from stepgym.trainers.cluster.rollouts.engine_solver import cluster_solver
from stepgym.trainers.cluster.rollouts.episodes import LIMIT, Episodes
from stepgym.trainers.cluster.rollouts.packing import Packed
from stepgym.trainers.cluster.rollouts.request import EpisodeRequest
from stepgym.trainers.samples import to_samples
from tests.conftest import processes_of_ours
from tests.endpoint_server import Handler
from tests.tiny_qwen import make_tiny_qwen
from tests.watched_actor import percentile, play_watched, watched_actor

pytest.importorskip(
    "openrlhf", reason="OpenRLHF is not installed; `make test-cluster` runs this in an environment of its own"
)

CONTEXT = 2048
BAR = 0.05
"""Seconds that the event loop may be late, at the 99th percentile."""
SUM = Task(id="sum", prompt="What is 2 + 3?", answer="5")
DECOMPOSED = "<subquestion>What is 2 + 3?"
SOLVED = "It is \\boxed{5}."
OTHER = Task(id="other", prompt="What is 7 + 9?", answer="16", hint="Count on from 7.")
RANDOM = 2.0
"""The highest temperature of vLLM, at which the model hardly says what it knows by heart."""
GUIDED = {"max_steps": 2, "failures": 1}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model that knows two answers by heart: how to decompose `SUM`, and how to solve it so decomposed."""
    import gymnasium

    asked: list[Task] = []
    env = gymnasium.make(
        "stepgym/Decompose-v0", tasks=(SUM,), solver=lambda task, tries: asked.append(task) or [SOLVED] * tries
    )
    observation, _ = env.reset()
    assert env.step(DECOMPOSED)[1] == 1.0
    folder = make_tiny_qwen(tmp_path_factory.mktemp("model"), context=CONTEXT)
    memorise(folder, {observation: DECOMPOSED, asked[0].prompt: SOLVED})
    return folder


def memorise(folder: Path, replies: dict[str, str]) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    rows = []
    for said, reply in replies.items():
        prompt = tokenizer.apply_chat_template([{"role": "user", "content": said}], add_generation_prompt=True)
        context, tokens = list(prompt["input_ids"]), tokenizer(reply + "<|im_end|>").input_ids
        rows.append((torch.tensor([context + tokens]), torch.tensor([[-100] * len(context) + tokens])))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    torch.manual_seed(0)
    torch.set_num_threads(1)  # more of them wait for each other where the cores are busy
    for _ in range(400):
        loss = sum(model(input_ids=ids, labels=labels).loss for ids, labels in rows)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss < 4e-3:
            break
    assert loss < 4e-3
    model.save_pretrained(folder)


@pytest.fixture(scope="module")
def sandboxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sandboxes")


@pytest.fixture(scope="module")
def actor(model: Path, sandboxes: Path) -> Iterator[Any]:
    import ray

    settings = {"env": "stepgym/Guided-v0", "settings": GUIDED, "parts": ["helped"]}
    environment = {VARIABLE: json.dumps(settings), "STEPGYM_SANDBOXES": str(sandboxes)}
    with watched_actor(model, context=CONTEXT, environment=environment) as made:
        ray.get(made.use_solver.remote([made], max_tokens=32))  # it may be its own
        yield made


def play(actor: Any, request: EpisodeRequest, copies: int = 0) -> list[Trajectory]:
    import ray

    asked = actor.generate_responses.remote("", request.to_json(), num_samples=copies or len(request.seeds))
    return [answer["trajectory"] for answer in ray.get(asked)]


def executed(actor: Any, label: str, **sampling: Any) -> dict[str, Any]:
    """An episode as plain OpenRLHF has it played."""
    import ray
    from vllm import SamplingParams

    params = SamplingParams(min_tokens=1, logprobs=1, **sampling)
    answer: dict[str, Any] = ray.get(actor.execute_plain.remote(label, params, CONTEXT))
    return answer


def recomputed(folder: Path, prompt: Sequence[int], tokens: Sequence[int], temperature: float) -> list[float]:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.tensor([[*prompt, *tokens]])
    with torch.no_grad():
        logprobs = (model(ids).logits[0].float() / temperature).log_softmax(-1)
    return [float(logprobs[len(prompt) - 1 + i, token]) for i, token in enumerate(tokens)]


def test_tokens_and_logprobs_are_those_of_the_model(actor: Any, model: Path) -> None:
    request = EpisodeRequest(task=OTHER, env="stepgym/Guided-v0", settings=GUIDED, max_tokens=24, seeds=(1, 2, 3))
    for temperature in (1.0, RANDOM):
        for trajectory in play(actor, replace(request, temperature=temperature)):
            assert trajectory.graded, trajectory.error
            for step in trajectory.steps:
                reply = step.reply
                assert 0 < len(reply.tokens) == len(reply.logprobs) <= 24
                expected = recomputed(model, reply.prompt, reply.tokens, temperature)
                assert reply.logprobs == pytest.approx(expected, abs=2e-3)
                assert reply.finished == (len(reply.tokens) < 24 or reply.tokens[-1] == 2)
                assert reply.usage.completion_tokens == len(reply.tokens)


def test_two_turns_are_one_stretch_in_which_replies_alone_are_trained(actor: Any) -> None:
    request = EpisodeRequest(
        task=OTHER,
        env="stepgym/Guided-v0",
        settings=GUIDED,
        system="Be brief.",
        max_tokens=16,
        seeds=(1, 2),
        temperature=RANDOM,
    )
    for trajectory in play(actor, request):
        assert (trajectory.stop, len(trajectory.steps)) == (Stop.STEP_LIMIT, 2)
        first, second = (step.reply for step in trajectory.steps)
        assert second.prompt[: len(first.prompt + first.tokens)] == first.prompt + first.tokens
        (sample,) = to_samples(trajectory)
        assert sample.context == first.prompt
        assert sample.context + sample.tokens == second.prompt + second.tokens
        gap = len(second.prompt) - len(first.prompt + first.tokens)
        masks = [True] * len(first.tokens), [False] * gap, [True] * len(second.tokens)
        assert sample.trained == tuple(itertools.chain(*masks))
        assert sample.logprobs == (*first.logprobs, *[0.0] * gap, *second.logprobs)
        assert sum(map(bool, sample.logprobs)) == sample.trained_count


def test_a_seed_repeats_itself(actor: Any) -> None:
    request = EpisodeRequest(
        task=OTHER, env="stepgym/Guided-v0", settings=GUIDED, max_tokens=16, seeds=(7, 8, 7), temperature=RANDOM
    )
    first, other, again = ([step.reply.tokens for step in trajectory.steps] for trajectory in play(actor, request))
    assert first == again != other


def test_a_stop_string_ends_a_reply_and_stays_in_it(actor: Any) -> None:
    request = EpisodeRequest(
        task=SUM, env="stepgym/Decompose-v0", stop=("2 +", "?"), max_tokens=64, temperature=0.0, seeds=(1,)
    )
    (trajectory,) = play(actor, request)
    (step,) = trajectory.steps
    assert step.reply.text == DECOMPOSED[: DECOMPOSED.index("2 +") + len("2 +")]
    assert step.reply.finished
    assert len(step.reply.tokens) == len(step.reply.text)  # its letters are its tokens


def test_a_solver_that_is_an_actor_judges_decompositions(actor: Any) -> None:
    request = EpisodeRequest(task=SUM, env="stepgym/Decompose-v0", max_tokens=64, temperature=0.0, seeds=(1, 2))
    for trajectory in play(actor, request):
        (step,) = trajectory.steps
        assert step.reply.text == DECOMPOSED
        assert step.reply.tokens[-1] == 2
        assert 1.0 <= step.score.parts["passed"] <= step.score.parts["samples"] == 4.0  # they are sampled
        assert trajectory.reward == 1.0


def test_what_cannot_be_graded_is_not_trained_and_stops_nobody_else(actor: Any) -> None:
    import ray

    good = EpisodeRequest(task=SUM, env="stepgym/Decompose-v0", max_tokens=64, temperature=0.0, seeds=(1, 2))
    bad = replace(good, settings={"helped_template": "{prompt}{subquestions}" + CONTEXT * "?"})
    asked = [actor.generate_responses.remote("", one.to_json(), num_samples=2) for one in (bad, good)]
    broken, sound = ([answer["trajectory"] for answer in answers] for answers in ray.get(asked))
    for trajectory in broken:
        assert (trajectory.stop, trajectory.graded) == (Stop.UNGRADED, False)
        assert math.isnan(trajectory.reward)
        assert "does not fit the window" in trajectory.steps[-1].score.why
    assert [trajectory.reward for trajectory in sound] == [1.0, 1.0]


def test_a_prompt_without_room_is_ungraded(actor: Any) -> None:
    task = replace(OTHER, prompt="?" * CONTEXT)
    (trajectory,) = play(actor, EpisodeRequest(task=task, env="stepgym/Guided-v0", settings=GUIDED, seeds=(1,)))
    assert trajectory.stop is Stop.ERROR
    assert f"does not fit the window of {CONTEXT}" in trajectory.error
    answer = executed(actor, task.to_json(), max_tokens=16)
    assert (answer["action_ranges"], answer["reward"], answer["extra_logs"]["ungraded"]) == ([], 0.0, 1.0)
    assert len(answer["observation_tokens"]) == len(answer["rollout_log_probs"]) == 2


def test_a_request_that_cannot_be_played_is_one_clear_error(actor: Any) -> None:
    request = EpisodeRequest(task=OTHER, env="stepgym/Guided-v0", settings={"max_stepps": 2}, seeds=(1, 2))
    with pytest.raises(ConfigError, match="no setting 'max_stepps'"):
        play(actor, request)
    with pytest.raises(ConfigError, match="3 episodes need as many seeds, not 2"):
        play(actor, request, copies=3)


def test_plain_openrlhf_plays_any_environment(actor: Any, model: Path) -> None:
    from openrlhf.trainer.ppo_utils.samples_generator import SamplesGenerator

    answer = executed(actor, OTHER.to_json(), temperature=RANDOM, max_tokens=16)
    assert answer["extra_logs"] == {"turns": 2.0, "ungraded": 0.0, "helped": 1.0}
    tokens, ranges, logprobs = answer["observation_tokens"], answer["action_ranges"], answer["rollout_log_probs"]
    assert len(ranges) == 2
    assert len(logprobs) == len(tokens) == ranges[-1][1]
    for start, end in ranges:
        expected = recomputed(model, tokens[:start], tokens[start:end], RANDOM)
        assert logprobs[start:end] == pytest.approx(expected, abs=2e-3)
    experience = SamplesGenerator._process_response_into_experience(None, answer, max_len=CONTEXT)
    trained = experience.action_mask[0].nonzero()[:, 0] + 1
    assert trained.tolist() == [i for start, end in ranges for i in range(start, end)]
    assert (experience.rollout_log_probs[0] != 0).sum() == len(trained)


def test_a_row_of_a_data_set_may_name_its_own_environment(actor: Any) -> None:
    row = EpisodeRequest(task=SUM, env="stepgym/Decompose-v0").to_json()
    answer = executed(actor, row, temperature=0.0, max_tokens=64)
    assert answer["reward"] == 1.0  # by the environment's usual solver, which can do sums
    assert answer["extra_logs"] == {"turns": 1.0, "ungraded": 0.0, "helped": 0.0}


def test_a_packed_trajectory_arrives_as_it_was() -> None:
    steps, said = [], ()
    for i in range(6):
        prompt = (*said, i, 2**31 + i) if i != 3 else (7, 8, 9)  # there history is rewritten
        reply = Reply(text=str(i), prompt=prompt, tokens=(i, 5) * (i != 2), logprobs=(-0.1 / 3, -1e-300) * (i != 2))
        steps.append(Step(observation=f"{i}", reply=reply, score=Score(0.5, {"a": 1.0}, why="so")))
        said = prompt + reply.tokens
    for taken in (steps, []):
        trajectory = Trajectory(task=OTHER, steps=tuple(taken), stop=Stop.ANSWERED, env="e", agent="a")
        assert pickle.loads(pickle.dumps(Packed(trajectory))) == trajectory


@pytest.mark.parametrize("label", ["no json", "[]", '{"prompt": "no id"}'])
def test_a_label_that_is_no_task_is_one_clear_error(label: str) -> None:
    with pytest.raises(ConfigError, match="label"):
        AgentSettings().request(label)


def test_a_solver_may_be_served_elsewhere() -> None:
    class Served(Handler):
        def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
            known = self.path == "/v1/models"
            self._send(200, json.dumps({"data": [{"id": "sums"}]} if known else {"error": "not here"}).encode())

    with ThreadingHTTPServer(("127.0.0.1", 0), Served) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f"http://127.0.0.1:{server.server_port}"
        solver = asyncio.run(cluster_solver([], f"{place}/v1", max_tokens=64))
        texts = solver(replace(SUM, prompt="What is 3+4?"), 2)
        assert len(texts) == 2
        assert all("7" in text for text in texts)
        with pytest.raises(PolicyError, match="does not say which model it serves"):
            asyncio.run(cluster_solver([], place, max_tokens=64))
        solver.solver.close()
        server.shutdown()


def test_so_many_episodes_at_a_time_and_no_more() -> None:
    request = EpisodeRequest(task=OTHER, env="stepgym/Guided-v0", settings=GUIDED)
    running = most = 0

    class Slow(ScriptedPolicy):
        async def sample(self, messages: Sequence[Message], sampling: Sampling) -> Reply:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.01)
            running -= 1
            return await super().sample(messages, sampling)

    async def whole() -> list[Trajectory]:
        episodes = Episodes(limit=3)
        policy = Slow.by_function(lambda _: "\\boxed{16}")
        played = await asyncio.gather(*(episodes.play(request, policy, seed=i) for i in range(10)))
        assert [len(free) for free in episodes._free.values()] == [3]  # each used again
        episodes.close()
        return played

    assert [trajectory.reward for trajectory in asyncio.run(whole())] == [1.0] * 10
    assert most == 3


def test_a_limit_that_is_no_number_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("many", "0", "-1", ""):
        monkeypatch.setenv(LIMIT, text)
        with pytest.raises(ConfigError, match=f"{LIMIT} must be a number of episodes"):
            Episodes()


@pytest.mark.parametrize(
    ("env", "tasks", "settings"),
    [
        ("stepgym/Math-v0", "arithmetic", {"max_steps": 3}),
        ("stepgym/SWE-v0", "swe-small", {"max_steps": 1, "command_seconds": 5.0}),
    ],
)
def test_hundreds_of_episodes_do_not_hold_the_event_loop(
    actor: Any, env: str, tasks: str, settings: dict[str, Any]
) -> None:
    loaded = load(tasks)
    requests = [
        EpisodeRequest(
            task=loaded[i % len(loaded)],
            env=env,
            settings=settings,
            max_tokens=24,
            temperature=RANDOM,
            seeds=tuple(range(8 * i, 8 * i + 8)),
        )
        for i in range(32)
    ]
    for _ in range(3):  # a machine that is busy with other things makes the loop later than it would be, never earlier
        played = play_watched(actor, requests)
        if percentile(played.late, 99) <= BAR:
            break
    assert [trajectory.error for trajectory in played.trajectories if trajectory.error] == []
    assert len(played.trajectories) == 256
    assert len(played.late) > 100
    # What a loop with nothing to do is late on this machine at this time, is not ours.
    assert percentile(played.late, 99) <= BAR + percentile(played.idle, 99)


def test_a_killed_actor_leaves_no_process_and_no_sandbox(actor: Any, sandboxes: Path) -> None:
    """The last test, for nothing can be played afterwards."""
    import ray

    request = EpisodeRequest(
        task=load("swe-small")[0],
        env="stepgym/SWE-v0",
        settings={"max_steps": 100},
        max_tokens=8,
        temperature=RANDOM,
        seeds=(1, 2),
    )
    asked = actor.generate_responses.remote("", request.to_json(), num_samples=2)
    wait_until(lambda: any(sandboxes.iterdir()))
    ray.kill(actor)
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(asked)
    wait_until(lambda: not [line for line in processes_of_ours() if "Actor" in line or "ray" not in line.lower()])
    assert any(sandboxes.iterdir())  # files are removed by whoever makes a sandbox next, or asks for it
    prune = [Path(sys.executable).with_name("stepgym"), "sandboxes", "prune"]
    said = subprocess.run(
        prune, env={**os.environ, "STEPGYM_SANDBOXES": str(sandboxes)}, capture_output=True, check=False
    )
    assert not any(sandboxes.iterdir()), said.stderr


def wait_until(holds: Any, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, (processes_of_ours(), holds)
        time.sleep(0.05)
