"""What each recipe gathers from attempts whose outcomes are written down here, and what never changes a loss."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pytest
import torch

from stepgym.errors import ConfigError
from stepgym.records import Reply, Score, Step, Stop, Task, Trajectory
from stepgym.tasks.expert_steps import is_whole
from stepgym.tasks.helped import Help, numbered
from stepgym.trainers import RECIPES, Group, ModelConfig, Sample
from stepgym.trainers.a2d import Decomposer, Reasoner
from stepgym.trainers.batches import TokenBatch, make_batches
from stepgym.trainers.grpo import GRPO
from stepgym.trainers.guide import GuideGRPO
from stepgym.trainers.guide_ppo import GuidePPO
from stepgym.trainers.guide_switches import Correction
from stepgym.trainers.losses import Normalise, ratio_quantile, shaped_ratio
from stepgym.trainers.making import make_recipe
from stepgym.trainers.model import Transformer
from stepgym.trainers.ppo import PPO, Estimator
from stepgym.trainers.samples import Term, demonstration, to_samples
from stepgym.trainers.sft import SFT
from stepgym.trainers.srl import SRL, Holistic
from stepgym.trainers.tokenizer import CharTokenizer

NAN = math.nan
TOKENIZER = CharTokenizer()
RECOMPUTED, REFERENCE = -0.5, -0.25
"""What the recorded source says are log-probabilities under the policy as it is, and under the reference."""


class Recorded:
    """A `Source` whose episodes have been played already: rewards by the task's id, and by ``id+`` with help.

    The i-th attempt is i + 1 tokens long, and the log-probability of its first token is -1 - i, or -3 - i with help.
    """

    def __init__(self, **rewards: Sequence[float]) -> None:
        self.rewards = rewards
        self.left = [task(name) for name in rewards if not name.endswith("_helped")]
        self.played: list[Task] = []

    def draw(self, count: int) -> list[Task]:
        drawn, self.left = self.left[:count], self.left[count:]
        return drawn

    def play(self, tasks: Sequence[Task], copies: int) -> list[Group]:
        self.played += tasks
        return [self.group(each, copies) for each in tasks]

    def group(self, of: Task, copies: int) -> Group:
        helped = "helped" in of.meta
        rewards = self.rewards[f"{of.id}_helped" if helped else of.id]
        assert len(rewards) == copies
        return Group(of, tuple(self.attempt(of, reward, i, helped) for i, reward in enumerate(rewards)))

    def attempt(self, of: Task, reward: float, index: int, helped: bool) -> Trajectory:
        first = -3.0 if helped else -1.0
        tokens = (*range(10, 10 + index), CharTokenizer.end)
        reply = Reply(
            text="x" * index,
            prompt=self.context(of),
            tokens=tokens,
            logprobs=tuple(first - index - 0.125 * t for t in range(len(tokens))),
        )
        return played(of, (reply, reward))

    def context(self, of: Task) -> tuple[int, ...]:
        return tuple(TOKENIZER.encode(of.prompt))

    def demonstrate(self, of: Task) -> Sample:
        return demonstration(self.context(of), TOKENIZER.encode("".join(of.steps)))

    def logprobs(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        return [(RECOMPUTED,) * len(sample.tokens) for sample in samples]

    def reference_logprobs(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        return [(REFERENCE,) * len(sample.tokens) for sample in samples]

    def values(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        """The length of what stands before each token, in 1/100."""
        return [
            tuple((len(sample.context) + i) / 100 if trained else 0.0 for i, trained in enumerate(sample.trained))
            for sample in samples
        ]


def task(name: str) -> Task:
    return Task(
        id=name,
        prompt=f"{name}?",
        answer="1",
        hint="try one",
        subquestions=("how", "why"),
        steps=("1. **A** a", "2. **B** b", "3. **C** c"),
    )


def played(of: Task, *turns: tuple[Reply, float]) -> Trajectory:
    steps = tuple(
        Step(observation="?", reply=reply, score=Score.ungraded("broken") if math.isnan(reward) else Score(reward))
        for reply, reward in turns
    )
    broken = any(math.isnan(reward) for _, reward in turns)
    return Trajectory(task=of, steps=steps, stop=Stop.UNGRADED if broken else Stop.ANSWERED)


def text_of(tokens: Sequence[int]) -> str:
    return TOKENIZER.decode(tokens)


def credited(samples: Sequence[Sample]) -> list[tuple[str, int, float]]:
    """Context, length and advantage of each sample."""
    return [(text_of(sample.context), len(sample.tokens), sample.advantages[0]) for sample in samples]


HINTED = "b?\nHint: try one\n"
GUIDE = {"tasks": 3, "group": 2}


# GRPO


def test_grpo_compares_siblings_and_weighs_each_token() -> None:
    # mean 1/4, deviation 1/2
    material = GRPO(tasks=1, group=4).gather(Recorded(a=[0.0, 1.0, 0.0, 0.0]))
    assert credited(material.samples) == [
        ("a?", 1, pytest.approx(-0.5, abs=1e-5)),
        ("a?", 2, pytest.approx(1.5, abs=1e-5)),
        ("a?", 3, pytest.approx(-0.5, abs=1e-5)),
        ("a?", 4, pytest.approx(-0.5, abs=1e-5)),
    ]
    assert all(not sample.off_policy and len(set(sample.advantages)) == 1 for sample in material.samples)
    assert [sample.logprobs[0] for sample in material.samples] == [-1.0, -2.0, -3.0, -4.0]
    assert material.measures["empty_replies"] == 1 / 4  # the first attempt is the end token alone


def test_an_attempt_without_graded_siblings_teaches_nothing() -> None:
    assert GRPO(tasks=1, group=2, min_std=-1.0).gather(Recorded(a=[1.0, NAN])).samples == ()
    assert len(GRPO(tasks=1, group=2, min_std=-1.0).gather(Recorded(a=[1.0, 1.0])).samples) == 2


def test_the_reference_is_asked_only_if_the_divergence_counts() -> None:
    for kl, reference in ((0.0, ()), (0.1, (REFERENCE,))):
        material = GRPO(tasks=1, group=2, kl=kl).gather(Recorded(a=[0.0, 1.0]))
        assert material.samples[0].reference == reference


# Guide


def test_only_groups_that_failed_throughout_are_hinted() -> None:
    source = Recorded(a=[0.0, 1.0], b=[0.0, 0.0], c=[1.0, 1.0], b_helped=[1.0, 0.0])
    material = GuideGRPO(**GUIDE).gather(source)
    assert [each.prompt for each in source.played] == ["a?", "b?", "c?", HINTED]
    assert material.measures["failed_groups"] == material.measures["guided_groups"] == 1
    assert material.measures["guided_reward"] == 0.5
    assert material.measures["useful_groups"] == 1


def test_a_hinted_attempt_is_trained_without_the_hint_but_keeps_what_it_was_sampled_with() -> None:
    material = GuideGRPO(**GUIDE).gather(Recorded(a=[0.0, 1.0], b=[0.0, 0.0], c=[1.0, 1.0], b_helped=[1.0, 0.0]))
    plain, guided = material.samples[:2], material.samples[2:]
    assert [sample.off_policy for sample in (*plain, *guided)] == [False, False, True, True]
    for sample in guided:
        assert text_of(sample.context) == "b?"
        assert text_of(sample.sampled_in) == HINTED
    assert [sample.logprobs for sample in guided] == [(-3.0,), (-4.0, -4.125)]  # those with the hint


def test_the_hinted_group_takes_the_place_of_the_failed_one() -> None:
    """The released rule: advantages within the hinted group; what failed is gone."""
    material = GuideGRPO(tasks=1, group=4).gather(Recorded(b=[0.0] * 4, b_helped=[1.0, 0.0, 0.0, 0.0]))
    assert credited(material.samples) == [
        ("b?", 1, pytest.approx(1.5, abs=1e-5)),
        ("b?", 2, pytest.approx(-0.5, abs=1e-5)),
        ("b?", 3, pytest.approx(-0.5, abs=1e-5)),
        ("b?", 4, pytest.approx(-0.5, abs=1e-5)),
    ]
    assert sum(sample.advantages[0] for sample in material.samples) == pytest.approx(0, abs=1e-9)


def test_a_pooled_group_compares_hinted_attempts_with_failed_ones() -> None:
    # of 0 0 1 0: mean 1/4, deviation 1/2
    material = GuideGRPO(tasks=1, group=2, pool=True).gather(Recorded(b=[0.0, 0.0], b_helped=[1.0, 0.0]))
    assert [sample.off_policy for sample in material.samples] == [False, False, True, True]
    assert [sample.advantages[0] for sample in material.samples] == pytest.approx([-0.5, -0.5, 1.5, -0.5], abs=1e-5)


def test_only_successes_with_a_hint_teach_if_they_are_pooled_and_not_filtered() -> None:
    # of 0 0 1 1: mean 1/2, deviation sqrt(4 · 1/4 / 3)
    outcomes: Mapping[str, list[float]] = {"b": [0.0, 0.0], "b_helped": [1.0, 1.0]}
    for settings in ({}, {"pool": True}, {"mixed": False}):
        assert GuideGRPO(tasks=1, group=2, **settings).gather(Recorded(**outcomes)).samples == ()
    material = GuideGRPO(tasks=1, group=2, pool=True, mixed=False).gather(Recorded(**outcomes))
    amount = math.sqrt(3) / 2
    advantages = [sample.advantages[0] for sample in material.samples]
    assert advantages == pytest.approx([-amount, -amount, amount, amount], abs=1e-5)
    failing = GuideGRPO(tasks=1, group=2, pool=True, mixed=False).gather(Recorded(b=[0.0, 0.0], b_helped=[0.0, 0.0]))
    assert failing.samples == ()
    assert failing.measures["guided_groups"] == 0
    assert failing.measures["guided_reward"] == 0.0  # of all that were hinted, learned from or not


@pytest.mark.parametrize("pool", [False, True])
def test_a_failed_group_is_used_once(pool: bool) -> None:
    """Rewards of -1 and 0 are failures that differ: hinted, the group must not stand beside its own replacement."""
    source = Recorded(b=[-1.0, 0.0], b_helped=[1.0, 0.0])
    material = GuideGRPO(tasks=1, group=2, pool=pool).gather(source)
    assert len(material.samples) == (4 if pool else 2)
    kept = GuideGRPO(tasks=1, group=2, min_std=-1.0).gather(Recorded(b=[0.0, 0.0], b_helped=[1.0, 0.0]))
    assert [sample.off_policy for sample in kept.samples] == [True, True]


def test_without_correction_the_ratio_begins_at_one() -> None:
    settings = {"tasks": 1, "group": 2, "correction": Correction.NONE}
    material = GuideGRPO(**settings).gather(Recorded(b=[0.0, 0.0], b_helped=[1.0, 0.0]))
    for sample in material.samples:
        assert text_of(sample.context) == text_of(sample.sampled_in) == "b?"
        assert not sample.off_policy
        assert set(sample.logprobs) == {RECOMPUTED}


def test_on_the_hint_everything_stays_as_it_was_sampled() -> None:
    settings = {"tasks": 1, "group": 2, "correction": Correction.ON_HINT}
    material = GuideGRPO(**settings).gather(Recorded(b=[0.0, 0.0], b_helped=[1.0, 0.0]))
    for sample in material.samples:
        assert text_of(sample.context) == text_of(sample.sampled_in) == HINTED
    assert material.samples[0].logprobs == (-3.0,)


def test_other_help_can_be_shown() -> None:
    recipe = GuideGRPO(tasks=1, group=2, help=Help.SUBQUESTIONS, template="{prompt} {subquestions}")
    material = recipe.gather(Recorded(b=[0.0, 0.0], b_helped=[1.0, 0.0]))
    assert text_of(material.samples[0].sampled_in) == "b? 1. how\n2. why"


def test_a_hint_cannot_be_taken_out_of_several_actions() -> None:
    class Talkative(Recorded):
        def attempt(self, of: Task, reward: float, index: int, helped: bool) -> Trajectory:
            once = super().attempt(of, reward, index, helped).steps[0]
            return played(of, (once.reply, 0.0), (once.reply, reward))

    outcomes: Mapping[str, list[float]] = {"b": [0.0, 0.0], "b_helped": [1.0, 0.0]}
    with pytest.raises(ConfigError, match="set max_steps to 1"):
        GuideGRPO(tasks=1, group=2).gather(Talkative(**outcomes))
    on_hint = GuideGRPO(tasks=1, group=2, correction=Correction.ON_HINT).gather(Talkative(**outcomes))
    assert len(on_hint.samples) == 4
    with pytest.raises(ConfigError, match="set max_steps to 1"):
        Reasoner(tasks=1, group=2).gather(Talkative(**outcomes))


# A2D


def test_distillation_is_of_successes_on_hard_questions_without_the_subquestions() -> None:
    outcomes = {
        "a": [1.0, 0.0, 0.0, 1.0],  # R̄ = 1/2 is not below k1
        "b": [0.0, 0.0, 0.0, 1.0],
        "c": [0.0, 0.0, 0.0, 0.0],
        "d": [1.0, 1.0, 1.0, 1.0],
        "b_helped": [0.0, 1.0, 0.0, 0.0],
        "c_helped": [0.0, 1.0, 1.0, 1.0],
    }
    source = Recorded(**outcomes)
    recipe = Reasoner(tasks=4, group=4)
    material = recipe.gather(source)
    helped = [each.prompt for each in source.played[4:]]
    assert helped == [f"{name}?\nSub-questions:\n{numbered(('how', 'why'))}\n" for name in "bc"]
    policy = [sample for sample in material.samples if sample.term is Term.POLICY]
    distilled = [sample for sample in material.samples if sample.term is Term.DISTILLATION]
    assert [text_of(sample.context) for sample in policy] == ["a?"] * 4 + ["b?"] * 4
    # only correct ones, and of the three of c at most k2 · 4 = 2, the first
    assert [(text_of(sample.context), len(sample.tokens)) for sample in distilled] == [
        ("b?\nSolution:\n", 2),
        ("c?\nSolution:\n", 2),
        ("c?\nSolution:\n", 3),
    ]
    assert all("how" in text_of(sample.sampled_in) for sample in distilled)
    # 3 samples: the mean over 4 questions of the mean over those selected, times 3, as a mean over 3 is taken of them
    assert [sample.weight for sample in distilled] == pytest.approx([3 / 4, 3 / 8, 3 / 8])
    assert (material.measures["hard_groups"], material.measures["distilled"]) == (2, 3)
    assert material.measures["guided_reward"] == 1 / 2
    (batch,) = make_batches(material.samples, recipe.normalise, max_tokens=10_000)
    per_token = [weight for weight in batch.weights_of(Term.DISTILLATION).tolist() if weight]
    assert sorted(per_token) == pytest.approx(sorted([1 / 8] * 2 + [1 / 16] * 2 + [1 / 24] * 3))


def test_a2d_without_its_parts() -> None:
    outcomes: Mapping[str, list[float]] = {"b": [0.0] * 4, "b_helped": [1.0] * 4}

    def distilled(**settings: object) -> list[str]:
        recipe = Reasoner(tasks=1, group=4, **settings)  # type: ignore[arg-type]
        return [text_of(sample.context) for sample in recipe.gather(Recorded(**outcomes)).samples]

    assert distilled() == ["b?\nSolution:\n"] * 2
    assert distilled(k2=1.0) == ["b?\nSolution:\n"] * 4  # no selection
    assert distilled(diversity="{prompt}") == ["b?"] * 2  # no diversity prompt
    assert distilled(keep_guidance=True) == ["b?\nSub-questions:\n1. how\n2. why\n"] * 2
    assert distilled(k2=0.7) == ["b?\nSolution:\n"] * 2  # at most 2.8
    with pytest.raises(ConfigError, match="k2 of a group must be at least one attempt"):
        Reasoner(group=4, k2=0.2)


def test_the_gate_is_below_k1() -> None:
    for k1, asked in ((0.25, 0), (0.26, 1), (1.0, 1)):
        source = Recorded(b=[1.0, 0.0, 0.0, 0.0], b_helped=[0.0] * 4)
        material = Reasoner(tasks=1, group=4, k1=k1).gather(source)
        assert material.measures["hard_groups"] == len(source.played) - 1 == asked


def test_a2d_and_srl_take_the_printed_mean() -> None:
    for name in ("srl", "holistic", "guide-grpo", "a2d-decomposer", "a2d-reasoner"):
        assert RECIPES.load(name)().normalise is Normalise.SEQUENCE, name
    assert (Decomposer().clip_low, Decomposer().clip_high) == (Reasoner().clip_low, Reasoner().clip_high) == (0.2, 0.28)
    assert (GuideGRPO().clip_low, GuideGRPO().clip_high) == (0.2, 0.2)


# SRL


def test_srl_learns_all_steps_but_the_last() -> None:
    instances = SRL().instances(task("a"))
    assert [(each.id, each.steps) for each in instances] == [("a#1", ("1. **A** a",)), ("a#2", ("2. **B** b",))]
    assert "1. **A** a" in instances[1].prompt
    assert len(SRL(last=True).instances(task("a"))) == 3
    assert SRL(titled=True).instances(task("a"))[0].steps == ("a",)
    (whole,) = Holistic().instances(task("a"))
    assert is_whole(whole)
    assert whole.steps == ("1. **A** a\n2. **B** b\n3. **C** c",)


def test_srl_draws_again_where_similarities_hardly_differ() -> None:
    # deviations 0.005, 0.25, 0 and 0.05, of which ε = 0.02 lets pass the second and the last
    outcomes = {"a": [0.5, 0.51], "b": [0.0, 0.5], "c": [-1.0, -1.0], "d": [0.8, 0.9], "e": [0.0, 1.0]}
    source = Recorded(**outcomes)
    material = SRL(tasks=2, group=2, rounds=3).gather(source)
    assert [each.id for each in source.played] == ["a", "b", "c", "d"]  # two, then one in a's place, then in c's
    assert [text_of(sample.context) for sample in material.samples] == ["b?", "b?", "d?", "d?"]
    source = Recorded(a=[0.5, 0.51], b=[0.0, 0.5], c=[0.0, 0.5], d=[0.0, 0.5])
    assert len(SRL(tasks=2, group=2, rounds=2).gather(source).samples) == 4
    assert [each.id for each in source.played] == ["a", "b", "c"]  # no more than are missing
    once = SRL(tasks=2, group=2, rounds=1).gather(Recorded(**outcomes))
    assert [text_of(sample.context) for sample in once.samples] == ["b?", "b?"]
    without = SRL(tasks=2, group=2, rounds=1, min_std=-1.0).gather(Recorded(**outcomes))
    assert [text_of(sample.context) for sample in without.samples] == ["a?", "a?", "b?", "b?"]


# PPO


def reply(prompt: Sequence[int], tokens: Sequence[int]) -> Reply:
    return Reply(text="x", prompt=tuple(prompt), tokens=tuple(tokens), logprobs=(-1.0,) * len(tokens))


def test_advantages_run_along_an_episode_of_several_turns_and_samples() -> None:
    """Three turns: the second goes on from the first, the third begins another sample. γ = λ = 1/2."""
    episode = to_samples(
        played(
            task("a"),
            (reply((2, 3), (4, 5)), 0.25),
            (reply((2, 3, 4, 5, 9), (6,)), 0.0),
            (reply((8, 8), (7, 0)), 1.0),
        )
    )
    assert [sample.tokens for sample in episode] == [(4, 5, 9, 6), (7, 0)]
    first, second = Estimator(discount=0.5, lambd=0.5, scale=False).weigh([episode], Recorded())
    values = [0.02, 0.03, 0.05, 0.02, 0.03]  # what stands before each sampled token, in its own sample
    rewards = [0.0, 0.25, 0.0, 0.0, 1.0]
    deltas = [r + v / 2 - u for r, u, v in zip(rewards, values, [*values[1:], 0.0], strict=True)]
    expected = [sum(d / 4**i for i, d in enumerate(deltas[t:])) for t in range(5)]
    assert [*first.advantages, *second.advantages] == pytest.approx([*expected[:2], 0.0, *expected[2:]], abs=1e-7)
    returns = [a + v for a, v in zip(expected, values, strict=True)]
    assert [*first.returns, *second.returns] == pytest.approx([*returns[:2], 0.0, *returns[2:]], abs=1e-7)


def test_what_an_empty_reply_earned_is_not_lost() -> None:
    episode = to_samples(played(task("a"), (reply((2,), (4, 5)), 0.25), (reply((2, 4, 5), ()), 0.5)))
    assert [sample.rewards for sample in episode] == [(0.0, 0.75)]
    assert to_samples(played(task("a"), (reply((2,), ()), 1.0))) == []


def test_scaled_advantages_leave_padding_out() -> None:
    """Episodes of 1 and 3 tokens; the mean and the deviation are those of 4 numbers, not of 6."""
    material = PPO(tasks=1, group=3).gather(Recorded(a=[0.0, NAN, 1.0]))
    # values 2, and 2 3 4 in 1/100; all of the rest's reward less the value
    bare = [-0.02, 0.98, 0.97, 0.96]
    mean = sum(bare) / 4
    deviation = math.sqrt(sum((a - mean) ** 2 for a in bare) / 4)
    scaled = [(a - mean) / deviation for a in bare]
    found = [advantage for sample in material.samples for advantage in sample.advantages]
    assert found == pytest.approx(scaled, abs=1e-4)
    assert [sample.returns for sample in material.samples] == [(0.0,), pytest.approx((1.0, 1.0, 1.0))]  # not scaled
    assert material.measures["ungraded"] == 1


def test_ppo_needs_no_siblings() -> None:
    material = PPO(tasks=2, group=1, scale=False).gather(Recorded(a=[1.0], b=[0.0]))
    assert [sample.advantages for sample in material.samples] == [pytest.approx((0.98,)), pytest.approx((-0.02,))]
    assert PPO(tasks=2, group=1).gather(Recorded(a=[NAN], b=[NAN])).samples == ()


def test_guide_ppo_values_the_context_without_the_hint() -> None:
    source = Recorded(b=[0.0, 0.0], b_helped=[1.0, NAN])
    material = GuidePPO(tasks=1, group=2, scale=False).gather(source)
    failed, longer, hinted = material.samples
    assert [sample.off_policy for sample in material.samples] == [False, False, True]
    # b? is two tokens long, so the critic says 0.02; with the hint it would have said 0.17
    assert len(hinted.sampled_in) == 17
    assert hinted.advantages == pytest.approx((0.98,))
    assert hinted.returns == pytest.approx((1.0,))
    assert hinted.logprobs == (-3.0,)
    assert (failed.advantages, longer.advantages) == (pytest.approx((-0.02,)), pytest.approx((-0.02, -0.03)))
    assert material.measures["guided_ungraded"] == 1


@pytest.mark.parametrize("settings", [{}, {"pool": True, "mixed": False}])
def test_guide_ppo_learns_from_hinted_failures_too(settings: dict[str, bool]) -> None:
    material = GuidePPO(tasks=1, group=2, **settings).gather(Recorded(b=[0.0, 0.0], b_helped=[0.0, 0.0]))
    assert len(material.samples) == 4


# What could not be graded, or says nothing


EVERY = [name for name in RECIPES if name != "sft"]


@pytest.mark.parametrize("name", EVERY)
def test_ungraded_attempts_are_counted_and_train_nothing(name: str) -> None:
    recipe = make_recipe(name, ("tasks=2", "group=3", "rounds=1"))
    outcomes = {"a": [1.0, NAN, 0.0], "b": [NAN] * 3, "a_helped": [1.0, NAN, 0.0], "b_helped": [NAN] * 3}
    material = recipe.gather(Recorded(**outcomes))
    assert {text_of(sample.context).partition("?")[0] for sample in material.samples} == {"a"}
    own = [sample for sample in material.samples if sample.term is Term.POLICY]
    assert sorted(len(sample.tokens) for sample in own) == [1, 3]  # the second attempt of each group is missing
    assert material.measures["ungraded"] == 4
    assert material.measures["reward"] == 0.5
    assert not any(math.isnan(number) for sample in material.samples for number in sample.advantages)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("reward", [NAN, 0.0])
def test_a_step_whose_groups_all_teach_nothing_has_no_samples(name: str, reward: float) -> None:
    more = ("min_std=1e-6",) if name.endswith("ppo") else ()  # a critic learns from equal rewards too
    recipe = make_recipe(name, ("tasks=2", "group=2", "rounds=2", *more))
    outcomes = {key: [reward] * 2 for key in ("a", "b", "c", "d", *(f"{key}_helped" for key in "abcd"))}
    material = recipe.gather(Recorded(**outcomes))
    assert material.samples == ()
    assert material.measures["useful_groups"] == 0
    assert material.measures["groups"] == 4
    assert material.measures["ungraded"] == (8 if math.isnan(reward) else 0)


@pytest.mark.parametrize("name", EVERY)
def test_a_policy_that_says_nothing_at_all(name: str) -> None:
    """No token, not even the end: nothing can be made likelier, and nothing breaks."""

    class Silent(Recorded):
        def attempt(self, of: Task, reward: float, index: int, helped: bool) -> Trajectory:
            return played(of, (Reply(text="", prompt=self.context(of)), reward))

    recipe = make_recipe(name, ("tasks=1", "group=2", "rounds=1"))
    outcomes: Mapping[str, list[float]] = {"a": [1.0, 0.0], "a_helped": [1.0, 0.0]}
    material = recipe.gather(Silent(**outcomes))
    assert material.samples == ()
    assert material.measures["empty_replies"] == 1.0


def test_sft_demonstrates_what_it_draws() -> None:
    material = SFT(tasks=2).gather(Recorded(a=[], b=[]))
    assert [text_of(sample.context) for sample in material.samples] == ["a?", "b?"]
    assert {sample.term for sample in material.samples} == {Term.IMITATION}


@pytest.mark.parametrize(
    ("name", "setting", "says"),
    [
        ("grpo", "group=1", "group must be at least 2, not 1"),
        ("grpo", "tasks=0", "tasks must be at least 1"),
        ("grpo", "kl=-1", "kl must be at least 0"),
        ("grpo", "kl=NaN", "kl must be at least 0, not nan"),
        ("grpo", "min_std=NaN", "min_std must be a finite number"),
        ("grpo", "learning_rate=0", "learning_rate must be above 0"),
        ("grpo", "learning_rate=Infinity", "learning_rate must be above 0, not inf"),
        ("grpo", "clip_low=1.5", "clip_low must be above 0 and at most 1, not 1.5"),
        ("grpo", "normalise=words", "normalise"),
        ("sft", "tasks=0", "tasks must be at least 1"),
        ("sft", "learning_rate=-1", "learning_rate must be above 0"),
        ("srl", "rounds=0", "rounds must be at least 1"),
        ("holistic", "epochs=0", "epochs must be at least 1"),
        ("ppo", "group=0", "group must be at least 1"),
        ("ppo", "lambd=1.5", "lambd must be at least 0 and at most 1, not 1.5"),
        ("ppo", "critic_learning_rate=0", "critic_learning_rate must be above 0"),
        ("guide-grpo", "gamma=1.5", "gamma must be above 0 and at most 1, not 1.5"),
        ("guide-grpo", "gamma=NaN", "gamma must be above 0 and at most 1, not nan"),
        ("guide-grpo", "correction=some", "correction"),
        ("guide-ppo", "discount=-0.5", "discount must be at least 0 and at most 1"),
        ("guide-ppo", "minibatches=0", "minibatches must be at least 1"),
        ("a2d-decomposer", "clip_high=0", "clip_high must be above 0"),
        ("a2d-reasoner", "alpha=-1", "alpha must be at least 0"),
        ("a2d-reasoner", "k1=0", "k1 must be above 0 and at most 1"),
        ("a2d-reasoner", "k2=2", "k2 must be above 0 and at most 1"),
        ("a2d-reasoner", "k2=0.05", "k2 of a group must be at least one attempt, and 0.05 of 8 is not"),
    ],
)
def test_a_setting_out_of_range_is_one_sentence(name: str, setting: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_recipe(name, (setting,))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_ends_of_ranges_are_in_them() -> None:
    make_recipe("guide-grpo", ("gamma=5", "shaping=constant"))
    make_recipe("ppo", ("group=1", "discount=0", "lambd=1"))
    make_recipe("a2d-reasoner", ("alpha=0", "k1=1", "k2=1"))
    make_recipe("grpo", ("min_std=-1", "kl=0"))


# Padding and prompts


@pytest.fixture
def model() -> Iterator[Transformer]:
    torch.set_default_dtype(torch.float64)
    yield Transformer.seeded(len(TOKENIZER), ModelConfig(width=16, layers=1, heads=2, context=200), 1).double()
    torch.set_default_dtype(torch.float32)


def mixture() -> list[Sample]:
    """Attempts with and without hints, and distilled ones, of lengths from 1 to 4."""
    outcomes = {"a": [0.0, 1.0, 0.0, 1.0], "b": [0.0] * 4, "b_helped": [1.0, 0.0, 1.0, 0.0]}
    guided = GuidePPO(tasks=2, group=4, kl=0.1).gather(Recorded(**outcomes)).samples
    distilled = Reasoner(tasks=2, group=4).gather(Recorded(**outcomes)).samples
    return [*guided, *(sample for sample in distilled if sample.term is Term.DISTILLATION)]


def beside(samples: Sequence[Sample]) -> list[Sample]:
    """With a much longer one of a term that no loss looks at here, so that the others are padded to its length."""
    return [*samples, demonstration(range(3, 90), [0, 5, 9] * 20)]


@pytest.mark.parametrize("name", EVERY)
def test_padding_and_prompts_change_no_loss(name: str, model: Transformer) -> None:
    recipe = make_recipe(name, () if name == "sft" else ("kl=0.1",))
    samples = mixture()

    def loss(batch: TokenBatch) -> float:
        return float(recipe.loss(batch.logprobs(model), batch).value.detach())

    (alone,) = make_batches(samples, recipe.normalise, max_tokens=100_000)
    (padded,) = make_batches(beside(samples), recipe.normalise, max_tokens=100_000)
    assert padded.tokens.shape[1] > 5 * alone.tokens.shape[1]
    assert loss(padded) == pytest.approx(loss(alone), abs=1e-12)
    # another padding id, and in the place of the samples' numbers for prompts nothing at all is kept
    lengths = [sample.length - 1 for sample in (beside(samples)[i] for i in padded.samples)]
    columns = torch.arange(padded.tokens.shape[1])
    outside = columns >= torch.tensor(lengths)[:, None]
    assert outside.any()
    other = replace(padded, tokens=padded.tokens.masked_fill(outside, 7))
    assert loss(other) == loss(padded)
    assert len(padded.targets) == sum(sample.trained_count for sample in beside(samples))


def test_what_is_said_of_untrained_tokens_changes_no_loss(model: Transformer) -> None:
    recipe = GuideGRPO()
    quiet = Sample(
        context=(5, 6),
        sampled_in=(5, 6, 7),
        tokens=(8, 9, 10, 11),
        trained=(True, False, False, True),
        logprobs=(-1.0, 0.0, 0.0, -2.0),
        rewards=(0.0,) * 4,
        advantages=(1.0, 0.0, 0.0, 1.0),
    )
    loud = replace(quiet, logprobs=(-1.0, 99.0, NAN, -2.0), advantages=(1.0, NAN, 99.0, 1.0))
    losses = []
    for sample in (quiet, loud):
        (batch,) = make_batches([sample], recipe.normalise, max_tokens=100)
        losses.append(recipe.loss(batch.logprobs(model), batch).value.item())
    assert losses[0] == losses[1]
    assert math.isfinite(losses[0])


def test_a_quantile_over_padding_would_be_another_number(model: Transformer) -> None:
    """The released code takes γ over every position of the padded response, where both log-probabilities are 0."""
    sample = mixture()[-3]
    assert sample.off_policy
    (batch,) = make_batches([replace(sample, term=Term.POLICY)], Normalise.SEQUENCE, max_tokens=100)
    logprobs = batch.logprobs(model).detach()
    gamma = ratio_quantile(logprobs, batch.old_logprobs, batch.rows)
    width = 20
    ratios = torch.ones(width)  # exp(0 - 0) where there is padding
    ratios[: len(logprobs)] = (logprobs - batch.old_logprobs).exp()
    released = ratios.quantile(0.9)
    assert abs(float(released) - float(gamma[0])) > 0.05
    ones = torch.ones_like(logprobs)
    weights = ones / len(ones)
    ours, theirs = (float(shaped_ratio(logprobs, batch.old_logprobs, ones, weights, g)) for g in (gamma, released))
    assert abs(ours - theirs) > 0.01
    (padded,) = make_batches(beside([replace(sample, term=Term.POLICY)]), Normalise.SEQUENCE, max_tokens=10_000)
    beside_others = ratio_quantile(padded.logprobs(model).detach(), padded.old_logprobs, padded.rows)
    assert beside_others[padded.rows == 0].tolist() == pytest.approx(gamma.tolist(), abs=1e-12)
