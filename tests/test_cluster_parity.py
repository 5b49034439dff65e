"""The same samples through the local engine and through OpenRLHF on DeepSpeed: the same loss, gradient and weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from stepgym.trainers import TrainConfig
from stepgym.trainers.critic import Critic
from stepgym.trainers.learner import Learner, Update
from stepgym.trainers.making import make_recipe
from stepgym.trainers.samples import Sample, demonstration
from tests.recipe_material import SETTINGS, material
from tests.tiny_qwen import make_tiny_qwen

pytest.importorskip("openrlhf", reason="OpenRLHF is not installed; `make test-cluster` runs this where it is")

from stepgym.trainers.huggingface import load_huggingface
from tests.openrlhf_trainers import Answer, Case, learn, learn_in_processes

RATE = 1e-3
CRITICS = ("ppo", "guide-ppo")
STAGES = (0, 1, 2, 3)


@dataclass(frozen=True, kw_only=True)
class Local:
    """What the local engine makes of a case; gradients and weights by the names that OpenRLHF has for them."""

    update: Update
    case: Case
    critic_case: Case | None
    gradient: Mapping[str, torch.Tensor]
    moved: Mapping[str, torch.Tensor]
    """By how much each weight changed."""
    critic_gradient: Mapping[str, torch.Tensor]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_qwen(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def local(
    recipe: str,
    model: Path,
    *settings: str,
    samples: Sequence[Sample] = (),
    batch_tokens: int = 256,
    **options: object,
) -> Local:
    """One update by the local engine. Several passes add up to it, here and there."""
    config = TrainConfig(
        recipe=recipe,
        settings=(*SETTINGS[recipe], f"learning_rate={RATE}", *settings),
        batch_tokens=batch_tokens,
        warmup=0,
        max_gradient=1e9,  # what is not cut is left in the parameters as it was
    )
    backbone = load_huggingface(str(model), "cpu")
    learner = Learner(backbone.model, make_recipe(recipe, config.settings), config)
    samples = samples or material(recipe, lambda samples: learner.logprobs(samples, backbone.model))
    case = Case(config=config, model=str(model), samples=samples, learning_rate=RATE, **options)
    critic_case = None
    if learner.critic is not None:
        torch.nn.init.normal_(learner.critic.head.weight, generator=torch.Generator().manual_seed(0))
        critic_case = replace(case, critic=critic_weights(learner.critic))
    before = named(backbone.model)
    update = learner.learn(samples, 1, last=1)
    return Local(
        update=update,
        case=case,
        critic_case=critic_case,
        gradient=gradients(backbone.model),
        moved=difference(named(backbone.model), before),
        critic_gradient=gradients(learner.critic) if learner.critic is not None else {},
    )


def named(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {openrlhf_name(name): weight.detach().clone() for name, weight in module.named_parameters()}


def gradients(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {openrlhf_name(name): w.grad for name, w in module.named_parameters() if w.grad is not None}


def openrlhf_name(name: str) -> str:
    return (
        name.removeprefix("body.").removeprefix("causal.").replace("head.weight", "score.weight", name == "head.weight")
    )


def critic_weights(critic: Critic) -> dict[str, torch.Tensor]:
    """Without the policy's head, which it does not use, and the bias of its own, which OpenRLHF's has not."""
    return {name: weight for name, weight in named(critic).items() if "lm_head" not in name and name != "head.bias"}


def difference(after: Mapping[str, torch.Tensor], before: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: after[name] - before[name] for name in after}


def distance(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> float:
    """Norm of the difference over the norm of what is expected, all weights taken together."""
    assert found.keys() == expected.keys()
    apart = sum(float((found[name] - expected[name]).square().sum()) for name in found)
    size = sum(float(expected[name].square().sum()) for name in found)
    return (apart / size) ** 0.5


def check_policy(answer: Answer, expected: Local, model: Path) -> None:
    """Loss and gradient within 1e-5, all measures, and the weights after AdamW's step."""
    assert len(answer.gradients) == 1
    assert distance(answer.gradients[0], expected.gradient) < 1e-5
    measures = {name: value for name, value in expected.update.measures.items() if name != "value_loss"}
    assert measures or expected.case.config.recipe == "sft"
    for name, value in measures.items():
        assert answer.status[f"stepgym/{name}"] == pytest.approx(value, rel=1e-4, abs=1e-7), name
    loss = expected.update.loss - expected.update.measures.get("value_loss", 0.0)
    assert answer.status["policy_loss"] == pytest.approx(loss, rel=1e-5)
    if expected.case.stage:  # without ZeRO DeepSpeed does not tell the norm
        assert answer.status["actor_grad_norm"] == pytest.approx(expected.update.gradient, rel=1e-5)
    before = named(load_huggingface(str(model), "cpu").model)
    assert distance(difference(answer.weights, before), expected.moved) < 1e-3


def check_critic(answer: Answer, expected: Local) -> None:
    """As the policy's; the bias of the local critic's head has no counterpart."""
    gradient = {name: value for name, value in expected.critic_gradient.items() if name != "head.bias"}
    assert distance(answer.gradients[0], gradient) < 1e-5
    assert answer.status["critic_loss"] == pytest.approx(expected.update.measures["value_loss"], rel=1e-5)
    assert answer.status["stepgym/value_loss"] == pytest.approx(expected.update.measures["value_loss"], rel=1e-5)


@pytest.mark.parametrize("recipe", SETTINGS)
def test_every_recipe_learns_the_same_in_both_engines(recipe: str, model: Path) -> None:
    expected = local(recipe, model)
    answer = learn(expected.case)
    assert len(answer.micro_batches) > 1, "the gradient of several passes must add up"
    check_policy(answer, expected, model)
    assert (expected.critic_case is not None) == (recipe in CRITICS)
    if expected.critic_case is not None:
        check_critic(learn(expected.critic_case), expected)


@pytest.mark.parametrize("normalise", ["token", "sequence"])
def test_both_means_are_the_same(normalise: str, model: Path) -> None:
    expected = local("grpo", model, f"normalise={normalise}")
    check_policy(learn(expected.case), expected, model)


@pytest.mark.parametrize("stage", STAGES)
def test_every_zero_stage_adds_up_micro_batches(stage: int, model: Path) -> None:
    expected = local("guide-grpo", model, stage=stage)
    check_policy(learn(expected.case), expected, model)


@pytest.mark.parametrize("stage", STAGES)
def test_bfloat16_differs_by_its_rounding_alone(stage: int, model: Path) -> None:
    expected = local("grpo", model, precision="bf16", stage=stage)
    answer = learn(expected.case)
    assert distance(answer.gradients[0], expected.gradient) < 0.05
    assert answer.status["policy_loss"] == pytest.approx(expected.update.loss, rel=0.02)


def test_two_processes_learn_what_one_learns(model: Path, tmp_path: Path) -> None:
    """11 rows and more on two processes: one blank row where they do not divide."""
    expected = [local(recipe, model, ranks=2) for recipe in SETTINGS]
    expected += [local("a2d-reasoner", model, ranks=2, stage=stage) for stage in STAGES if stage != 2]
    # Of 60 and 40 tokens for one process and of 50 and 50 for the other, which could do with one pass.
    shown = [demonstration(range(10, 20), range(20, 10 + length)) for length in (60, 50, 50, 40)]
    expected.append(local("sft", model, ranks=2, stage=3, samples=shown, batch_tokens=100))
    cases: Sequence[Case] = [one.case for one in expected]
    critics = [one for one in expected if one.critic_case is not None]
    assert {len(case.samples) % 2 for case in cases} == {0, 1}
    answers = learn_in_processes([*cases, *(one.critic_case for one in critics if one.critic_case)], tmp_path, 2)
    for one, answer in zip(expected, answers[: len(expected)], strict=True):
        check_policy(answer, one, model)
    assert answers[len(expected) - 1].micro_batches == [1, 1]
    for one, answer in zip(critics, answers[len(expected) :], strict=True):
        check_critic(answer, one)
