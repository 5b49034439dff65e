"""Recipes on the real engine, with a model that help makes better.

What they gather, and that the same run gives the same numbers in another process.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepgym.trainers import ModelConfig, Sample, TrainConfig, train
from stepgym.trainers.local import LocalEngine
from stepgym.trainers.making import make_recipe
from stepgym.trainers.metrics import read_metrics
from stepgym.trainers.recipe import Material
from stepgym.trainers.samples import Term
from stepgym.trainers.source import StepSource
from stepgym.trainers.tokenizer import CharTokenizer
from tests.help_tasks import write_tasks

SMALL = ModelConfig(width=32, layers=2, heads=2, context=64)
USUAL = ("tasks=4", "group=4", "rounds=1", "learning_rate=1e-4", "epochs=2")
HINT = "template={prompt}|{hint}\n"
SUBQUESTIONS = ("template={prompt}|{subquestions}\n", "diversity={prompt}!")
DECOMPOSE = ("template=D{prompt}", "helped_template={prompt}|{subquestions}\n", "tries=2")
RUNS: dict[str, dict[str, Any]] = {
    "guide-grpo": {"settings": (*USUAL, HINT, "kl=0.01")},
    "guide-ppo": {"settings": (*USUAL, HINT)},
    "a2d-reasoner": {"settings": (*USUAL, *SUBQUESTIONS)},
    "a2d-decomposer": {"settings": USUAL, "env_settings": DECOMPOSE},
    "ppo": {"settings": (*USUAL, "minibatches=2")},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With ``asked.jsonl``, the problems, and ``warm``, a run that taught to solve one in four, and with help half."""
    folder = tmp_path_factory.mktemp("recipes")
    write_tasks(folder)
    train(config("sft", folder, "warm", tasks=("shown",), settings=("tasks=72", "learning_rate=1e-2"), steps=90))
    return folder


def config(recipe: str, folder: Path, out: str, *, tasks: Sequence[str] = ("asked",), **more: Any) -> TrainConfig:
    return TrainConfig(
        recipe=recipe,
        out=folder / out,
        tasks=tuple(f"{folder}/{name}.jsonl" for name in tasks),
        held_out=(f"{folder}/asked.jsonl",),
        start=None if out == "warm" else folder / "warm" / "checkpoint.pt",
        model=SMALL,
        max_tokens=18,
        **more,
    )


class Gathered:
    """One step's material, and the engine that it was gathered with."""

    def __init__(self, recipe: str, folder: Path, *settings: str) -> None:
        given = RUNS[recipe]
        made = make_recipe(recipe, (*given["settings"], *settings))
        self.engine = LocalEngine(config(recipe, folder, "unused", env_settings=given.get("env_settings", ())), made)
        self.source = StepSource(self.engine, 1)
        self.material: Material = made.gather(self.source)
        self.off_policy = [sample for sample in self.material.samples if sample.off_policy]

    def text(self, tokens: Sequence[int]) -> str:
        return CharTokenizer().decode(tokens)

    def apart(self, samples: Sequence[Sample]) -> float:
        """The largest difference between recorded log-probabilities and those in the context that is trained in."""
        return max(
            abs(new - old)
            for sample, logprobs in zip(samples, self.source.logprobs(samples), strict=True)
            for new, old, trained in zip(logprobs, sample.logprobs, sample.trained, strict=True)
            if trained
        )


def test_guide_takes_the_hint_out_and_keeps_its_probabilities(folder: Path) -> None:
    gathered = Gathered("guide-grpo", folder)
    assert gathered.material.measures["guided_groups"] > 0
    assert gathered.material.measures["guided_reward"] > gathered.material.measures["reward"]
    for sample in gathered.off_policy:
        plain, hinted = gathered.text(sample.context), gathered.text(sample.sampled_in)
        assert hinted.startswith(f"{plain}|1. ")
        assert "|" not in plain
    assert gathered.apart([replace(sample, context=sample.sampled_in) for sample in gathered.off_policy]) < 1e-4
    assert gathered.apart(gathered.off_policy) > 0.1
    assert {len(sample.reference) for sample in gathered.material.samples} == {
        len(sample.tokens) for sample in gathered.material.samples
    }


def test_without_correction_the_ratio_is_one_at_first(folder: Path) -> None:
    gathered = Gathered("guide-grpo", folder, "correction=none")
    assert gathered.material.measures["guided_groups"] > 0
    assert gathered.off_policy == []
    assert not any("|" in gathered.text(sample.context) for sample in gathered.material.samples)
    assert gathered.apart(gathered.material.samples) < 1e-4
    on_hint = Gathered("guide-grpo", folder, "correction=on-hint")
    assert sum("|" in on_hint.text(sample.context) for sample in on_hint.material.samples) > 0
    assert on_hint.apart(on_hint.material.samples) < 1e-4


def test_a2d_distils_its_successes_into_the_diversity_prompt(folder: Path) -> None:
    gathered = Gathered("a2d-reasoner", folder)
    distilled = [sample for sample in gathered.material.samples if sample.term is Term.DISTILLATION]
    assert len(distilled) == gathered.material.measures["distilled"] > 0
    answers = {f"{i}+1=": f"\\boxed{{{i + 1}}}" for i in range(9)}
    for sample in distilled:
        problem = gathered.text(sample.context).removesuffix("!")
        assert gathered.text(sample.context).endswith("=!")
        assert gathered.text(sample.tokens).startswith(answers[problem])
        assert gathered.text(sample.sampled_in).startswith(f"{problem}|1. ")


def test_a_critic_that_knows_nothing_leaves_the_rest_of_the_reward(folder: Path) -> None:
    gathered = Gathered("guide-ppo", folder, "scale=false")
    assert gathered.off_policy
    for sample in gathered.material.samples:
        assert set(sample.advantages) == {sum(sample.rewards)}
        assert sample.returns == sample.advantages


def numbers(path: Path) -> list[Any]:
    """The lines of a ``metrics.jsonl`` without what depends on the clock."""

    def timeless(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: timeless(item) for key, item in value.items() if "second" not in key}
        return repr(value)  # NaN is not equal to itself

    return [timeless(json.loads(line)) for line in path.read_text().splitlines()]


AGAIN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_recipes_running import RUNS, config
from stepgym.trainers import train
for name, settings in RUNS.items():
    train(config(name, Path(sys.argv[2]), f"{name}-again", steps=2, **settings))
"""


def test_the_same_run_in_another_process_repeats_every_number(folder: Path) -> None:
    """Threads, hash seeds and the clock have no say."""
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    words = [sys.executable, "-c", AGAIN, str(Path(__file__).parent), str(folder)]
    with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True) as again:
        learned = {
            name: train(config(name, folder, name, steps=2, **settings)).idle_steps for name, settings in RUNS.items()
        }
        _, complaint = again.communicate()
    assert again.returncode == 0, complaint
    assert learned == dict.fromkeys(RUNS, 0)  # or there would be nothing to repeat
    for name in RUNS:
        first, second = (numbers(folder / out / "metrics.jsonl") for out in (name, f"{name}-again"))
        assert len(first) == 3
        assert first == second, name


def test_a_run_in_which_nothing_can_be_graded_goes_on_and_says_so(folder: Path) -> None:
    """What the solver is asked is longer than it can read, so no decomposition can be judged."""
    unreadable = (DECOMPOSE[0], f"helped_template={{prompt}}{{subquestions}}{'?' * SMALL.context}")
    settings = {"settings": USUAL, "env_settings": unreadable, "steps": 2}
    training = train(config("a2d-decomposer", folder, "ungraded", **settings))
    assert training.idle_steps == 2
    records = [record for record in read_metrics(training.folder / "metrics.jsonl") if record.step]
    assert all(record.measures["ungraded"] > 12 for record in records)  # of 16; some break the format, which is a 0
    assert not any(record.measures["reward"] > 0 for record in records)
    assert (training.after.graded, training.after.ungraded) == (0, 9)
    assert math.isnan(training.after.reward)
    assert "nothing to learn from" in training.report.read_text()
