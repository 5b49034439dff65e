"""Every recipe's loss and gradient against autograd of its equations, written out as loops over sequences and tokens.

In float64, through a small transformer; each sequence of a transcription is read by itself, without any padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from stepgym.trainers import RECIPES, ModelConfig, Sample, TrainConfig
from stepgym.trainers.batches import make_batches
from stepgym.trainers.critic import Critic
from stepgym.trainers.guide_switches import Shaping
from stepgym.trainers.learner import Learner
from stepgym.trainers.losses import Normalise
from stepgym.trainers.model import Transformer
from stepgym.trainers.samples import Term, demonstration

SIZES = ModelConfig(width=8, layers=2, heads=2, context=32)
CRITICS = ("ppo", "guide-ppo")
WHOLE, PARTS = 10_000, 15


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    """Whatever is made of Python numbers is float64."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def model() -> Transformer:
    made = Transformer.seeded(12, SIZES, 3).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(2)  # so that probabilities differ
    return made


@pytest.fixture
def critic(model: Transformer) -> Critic:
    made = Critic(model)
    torch.nn.init.normal_(made.head.weight, generator=torch.Generator().manual_seed(0))
    return made


def sampled(context: Sequence[int], tokens: Sequence[int], gap: Sequence[int] = (), *, place: int) -> Sample:
    """Tokens in a context, of which those at the places in `gap` are the environment's. All numbers differ."""
    trained = tuple(i not in gap for i in range(len(tokens)))

    def each(number: Callable[[int], float]) -> tuple[float, ...]:
        return tuple(number(i) if kept else 0.0 for i, kept in enumerate(trained))

    return Sample(
        context=tuple(context),
        sampled_in=tuple(context),
        tokens=tuple(tokens),
        trained=trained,
        logprobs=each(lambda i: -1.5 - 0.4 * ((3 * i + place) % 5)),
        rewards=each(lambda _: 0.0),
        advantages=each(lambda i: (1.3 - 0.7 * place if place % 2 else -0.4 * place - 0.5) + 0.01 * i),
        returns=each(lambda i: 0.6 - 0.1 * i + 0.2 * place),
        reference=each(lambda i: -2.0 + 0.3 * ((i + place) % 4)),
    )


ON_POLICY = (
    sampled((3, 4), (5, 6, 7), place=0),
    sampled((3,), (8, 9, 10, 11, 1, 0), (1, 2), place=1),  # two turns
    sampled((2, 2, 2, 2), (4,), place=2),
)
HELPED = (
    sampled((9, 9, 2, 3, 4), (5, 10, 6, 3, 0), place=3).trained_in((3, 4)),
    sampled((9, 9, 9, 2, 7), (7, 2, 0), place=4).trained_in((7,)),
)
DISTILLED = {
    "first question": (
        sampled((9, 5, 5, 5), (6, 6, 0), place=5).trained_in((5, 1)),
        sampled((9, 5, 5, 5), (7, 6, 5, 3, 0), place=6).trained_in((5, 1)),
    ),
    "second question": (sampled((9, 8, 5), (2, 0), place=7).trained_in((8, 1)),),
}
"""The selected successes of each hard question."""
QUESTIONS = 4
"""Hard and easy ones."""
IMITATED = (demonstration((3, 4), (4, 5, 6, 0)), demonstration((7,), (1, 0)))
REHEARSED = tuple(
    replace(demonstration(context, tokens, term=Term.REHEARSAL), weight=0.3)
    for context, tokens in (((2, 3), (9, 8, 7, 0)), ((4,), (1, 0)))
)


def distillation() -> list[Sample]:
    """The selected successes as samples: their term's mean over sequences is to be one over all questions."""
    count = sum(map(len, DISTILLED.values()))
    return [
        replace(sample, term=Term.DISTILLATION, weight=count / (len(selected) * QUESTIONS))
        for selected in DISTILLED.values()
        for sample in selected
    ]


def material(name: str) -> list[Sample]:
    """Samples of every kind that a recipe makes, and rehearsal, which is no part of its loss."""
    if name == "sft":
        return [*IMITATED, *REHEARSED]
    made = list(ON_POLICY)
    if name.startswith("guide"):
        made[1:1] = HELPED
    if name == "a2d-reasoner":
        made[2:2] = distillation()
    return [*made, *REHEARSED]


# What follows is written from the papers' equations alone; `log_pi` is the only thing that touches the model.


def log_pi(model: Transformer, sample: Sample) -> list[Tensor]:
    """log π_θ(o_t | context, o_<t) of each sampled token."""
    tokens = (*sample.context, *sample.tokens)
    found = []
    for t in range(len(sample.context), len(tokens)):
        if sample.trained[t - len(sample.context)]:
            logits = model(torch.tensor([tokens[:t]]))[0, -1]
            found.append(logits.log_softmax(-1)[tokens[t]])
    return found


def sampled_only(numbers: Sequence[float], sample: Sample) -> list[float]:
    return [number for number, trained in zip(numbers, sample.trained, strict=True) if trained]


def share(recipe: Any, sample: Sample, sequences: Sequence[Sample]) -> float:
    """1 / (B |o_i|), or 1 / Σ|o_i|."""
    if recipe.normalise is Normalise.SEQUENCE:
        return 1 / (len(sequences) * sample.trained_count)
    return 1 / sum(each.trained_count for each in sequences)


def clipped(recipe: Any, model: Transformer, sample: Sample) -> Tensor:
    """Σ_t min(r A, clip(r, 1 - ε_low, 1 + ε_high) A)."""
    total = torch.zeros(())
    old, advantages = sampled_only(sample.logprobs, sample), sampled_only(sample.advantages, sample)
    for new, before, advantage in zip(log_pi(model, sample), old, advantages, strict=True):
        r = torch.exp(new - before)
        total = total + torch.min(r * advantage, torch.clip(r, 1 - recipe.clip_low, 1 + recipe.clip_high) * advantage)
    return total


def divergence(model: Transformer, sample: Sample) -> Tensor:
    """Σ_t π_ref / π_θ - log(π_ref / π_θ) - 1."""
    total = torch.zeros(())
    for new, reference in zip(log_pi(model, sample), sampled_only(sample.reference, sample), strict=True):
        x = torch.exp(reference - new)
        total = total + x - torch.log(x) - 1
    return total


def grpo(recipe: Any, model: Transformer, sequences: Sequence[Sample] = ON_POLICY) -> Tensor:
    """-J(θ), GRPO's equation 3."""
    loss = torch.zeros(())
    for sample in sequences:
        objective = clipped(recipe, model, sample) - recipe.kl * divergence(model, sample)
        loss = loss - share(recipe, sample, sequences) * objective
    return loss


def shaped(recipe: Any, model: Transformer, sample: Sample) -> Tensor:
    """Σ_t f(ρ_t) A_t with f(ρ) = ρ / (ρ + γ), γ = max(1e-4, Quantile_0.9 of the sequence's ρ), without gradient."""
    rho = [
        torch.exp(new - hinted)
        for new, hinted in zip(log_pi(model, sample), sampled_only(sample.logprobs, sample), strict=True)
    ]
    gamma = recipe.gamma
    if recipe.shaping is Shaping.QUANTILE:
        ordered = sorted(float(ratio.detach()) for ratio in rho)
        place = recipe.gamma * (len(ordered) - 1)
        below, above = ordered[math.floor(place)], ordered[math.ceil(place)]
        gamma = max(1e-4, below + (place - math.floor(place)) * (above - below))
    total = torch.zeros(())
    for ratio, advantage in zip(rho, sampled_only(sample.advantages, sample), strict=True):
        total = total + ratio / (ratio + gamma) * advantage
    return total


def guide(recipe: Any, model: Transformer) -> Tensor:
    """Clipped where the attempt was plain, shaped and not clipped where it was hinted."""
    sequences = [*ON_POLICY, *HELPED]
    loss = torch.zeros(())
    for sample in sequences:
        plain = sample in ON_POLICY or recipe.shaping is Shaping.CLIP
        objective = clipped(recipe, model, sample) if plain else shaped(recipe, model, sample)
        objective = objective - recipe.kl * divergence(model, sample)
        loss = loss - share(recipe, sample, sequences) * objective
    return loss


def a2d(recipe: Any, model: Transformer) -> Tensor:
    """-J + α · mean over questions of 1[R̄ < k1] L_IDL, with L_IDL = -1/|Sel| Σ_j mean_t log π."""
    loss = grpo(recipe, model)
    for selected in DISTILLED.values():
        for sample in selected:
            logprobs = log_pi(model, sample)
            likelihood = torch.stack(logprobs).sum() / len(logprobs)
            loss = loss - recipe.alpha / QUESTIONS / len(selected) * likelihood
    return loss


def sft(recipe: Any, model: Transformer) -> Tensor:
    """The mean of -log π."""
    loss = torch.zeros(())
    for sample in IMITATED:
        for logprob in log_pi(model, sample):
            loss = loss - share(recipe, sample, IMITATED) * logprob
    return loss


def rehearsal(recipe: Any, model: Transformer) -> Tensor:
    """0.3 times the mean of -log π over what is rehearsed."""
    loss = torch.zeros(())
    for sample in REHEARSED:
        for logprob in log_pi(model, sample):
            loss = loss - 0.3 * share(recipe, sample, REHEARSED) * logprob
    return loss


def value_loss(recipe: Any, critic: Critic, sequences: Sequence[Sample]) -> Tensor:
    """The mean of ½ (V(s_t) - R_t)², s_t being all that stands before token t."""
    loss = torch.zeros(())
    for sample in sequences:
        tokens = (*sample.context, *sample.tokens)
        for i, trained in enumerate(sample.trained):
            if trained:
                state = critic.body.hidden(torch.tensor([tokens[: len(sample.context) + i]]))[0, -1]
                error = critic.head(state)[0] - sample.returns[i]
                loss = loss + share(recipe, sample, sequences) * 0.5 * error**2
    return loss


TRANSCRIPTIONS: dict[str, Callable[[Any, Transformer], Tensor]] = {
    "sft": sft,
    "grpo": grpo,
    "ppo": grpo,  # equation 7 is the same; its advantages differ from token to token
    "srl": grpo,
    "holistic": grpo,
    "guide-grpo": guide,
    "guide-ppo": guide,
    "a2d-decomposer": grpo,
    "a2d-reasoner": a2d,
}
VARIANTS: dict[str, list[dict[str, object]]] = {
    "sft": [{"normalise": Normalise.SEQUENCE}],
    "grpo": [{"normalise": Normalise.SEQUENCE}, {"kl": 0.25, "clip_high": 0.5}],
    "ppo": [{"kl": 0.25}],
    "guide-grpo": [
        {"shaping": Shaping.CONSTANT, "gamma": 0.3},
        {"shaping": Shaping.CLIP, "kl": 0.25},
        {"normalise": Normalise.TOKEN, "gamma": 0.5, "kl": 0.25},
    ],
    "a2d-reasoner": [{"alpha": 1.5, "kl": 0.25}],
}
CASES = [(name, settings) for name in RECIPES for settings in ({}, *VARIANTS.get(name, []))]


def gradients(loss: Tensor, module: torch.nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(module.parameters())))


def close(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> None:
    assert max(float(gradient.abs().max()) for gradient in theirs) > 1e-3
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("max_tokens", [WHOLE, PARTS])
@pytest.mark.parametrize(("name", "settings"), CASES)
def test_loss_and_gradient(name: str, settings: dict[str, object], max_tokens: int, model: Transformer) -> None:
    recipe = RECIPES.load(name)(**settings)
    batches = make_batches(material(name), recipe.normalise, max_tokens=max_tokens)
    assert len(batches) == 1 if max_tokens == WHOLE else len(batches) > 1
    total = torch.stack([recipe.loss(batch.logprobs(model), batch).value for batch in batches]).sum()
    expected = TRANSCRIPTIONS[name](recipe, model)
    assert total.item() == pytest.approx(expected.item(), abs=1e-12)
    close(gradients(total, model), gradients(expected, model))


@pytest.mark.parametrize("max_tokens", [WHOLE, PARTS])
@pytest.mark.parametrize("name", CRITICS)
def test_loss_and_gradient_of_the_critic(name: str, max_tokens: int, critic: Critic) -> None:
    recipe = RECIPES.load(name)()
    batches = make_batches(material(name), recipe.normalise, max_tokens=max_tokens)
    total = torch.stack([recipe.value_loss(critic.values(batch), batch).value for batch in batches]).sum()
    expected = value_loss(recipe, critic, [sample for sample in material(name) if sample.term is Term.POLICY])
    assert total.item() == pytest.approx(expected.item(), abs=1e-12)
    assert float(critic.head.weight.detach().abs().min()) > 0  # or nothing would reach the body
    close(gradients(total, critic), gradients(expected, critic))


@pytest.mark.parametrize("name", list(RECIPES))
def test_what_the_learner_accumulates(name: str, model: Transformer) -> None:
    """The recipe's loss, the critic's, and the rehearsal, summed over the passes of one update."""
    recipe = RECIPES.load(name)()
    before = deepcopy(model)
    learner = Learner(model, recipe, TrainConfig(recipe=name, batch_tokens=PARTS, max_gradient=1e9))
    update = learner.learn(material(name), 1, last=1)
    expected = TRANSCRIPTIONS[name](recipe, before) + rehearsal(recipe, before)
    close([parameter.grad for parameter in model.parameters()], gradients(expected, before))  # type: ignore[misc]
    if name in CRITICS:
        samples = [sample for sample in material(name) if sample.term is Term.POLICY]
        expected = expected + value_loss(recipe, Critic(before), samples)
    assert update.loss == pytest.approx(expected.item(), abs=1e-9)
    assert update.tokens == sum(sample.trained_count for sample in material(name))


def test_every_recipe_is_transcribed() -> None:
    assert set(TRANSCRIPTIONS) == set(RECIPES)
    with_critic = [name for name in RECIPES if hasattr(RECIPES.load(name), "value_loss")]
    assert with_critic == list(CRITICS)


def test_the_samples_exercise_both_sides_of_the_clip(model: Transformer) -> None:
    """A transcription would agree by chance if no ratio ever left the band."""
    ratios = [
        float(torch.exp(new.detach() - old))
        for sample in ON_POLICY
        for new, old in zip(log_pi(model, sample), sampled_only(sample.logprobs, sample), strict=True)
    ]
    assert min(ratios) < 0.8
    assert max(ratios) > 1.28
    assert any(0.8 < ratio < 1.2 for ratio in ratios)
