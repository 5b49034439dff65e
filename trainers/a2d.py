"""A2D: a decomposer learns to ask the sub-questions that make a problem solvable; a reasoner learns to do without them.

The decomposer is rewarded by format × pass@n of a frozen solver that is given its sub-questions
(`stepgym/Decompose-v0`), and trained by GRPO. It then annotates every task once (`stepgym annotate subquestions`).

The reasoner attempts each question x plainly and, where its mean reward R̄ is below k1, again with the sub-questions S.
Of the correct ones among these, at most k2·n are imitated without S, under a *diversity prompt* p that is not RL's:

    L = -J(θ) + α · 1[R̄ < k1] · L_IDL,    L_IDL = -1/|Sel| Σ_{j ∈ Sel} mean_t log π_θ(ŷ_{j,t} | x, p, ŷ_{j,<t})

(equations 4 to 6). A2D, arXiv 2602.00759, sections 2.2 and 2.3. The paper prints π where its text says NLL: the
logarithm, its mean over tokens, and "the first k2·n" as the choice are ours. Not disclosed either: α, k1, k2, n of the
solver, the learning rate, the weight of the KL term, and the prompts; here they are settings, whose defaults worked on
the procedural families. J is a mean over the groups that teach something; with `min_std` = -1, over all questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from stepgym.errors import ConfigError
from stepgym.records import Task
from stepgym.tasks.helped import DIVERSITY, SUBQUESTIONS, check_help, with_subquestions, with_template
from stepgym.trainers import losses
from stepgym.trainers.groups import mean, measure, measure_guided, play_groups
from stepgym.trainers.grpo import GRPO, weigh
from stepgym.trainers.losses import Normalise
from stepgym.trainers.ranges import check_range
from stepgym.trainers.recipe import Group, Loss, Material, Source
from stepgym.trainers.samples import Sample, Term, to_samples

if TYPE_CHECKING:
    from torch import Tensor

    from stepgym.trainers.batches import TokenBatch

CORRECT = 1.0
"""A reward from this on is a success."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decomposer(GRPO):
    """Settings of A2D's decomposer: those of GRPO. The solver and its tries are the environment's."""

    normalise: Normalise = Normalise.SEQUENCE

    env: ClassVar[str] = "stepgym/Decompose-v0"
    evaluated_in: ClassVar[str] = "stepgym/Decompose-v0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasoner(GRPO):
    """Settings of A2D's reasoner: those of GRPO, and of the distillation."""

    normalise: Normalise = Normalise.SEQUENCE
    """Mean over sequences, as printed, or in both terms over all tokens alike."""
    alpha: float = 0.2
    """α: weight of the distillation beside GRPO's objective."""
    k1: float = 0.5
    """Questions whose plain attempts have a mean reward below this are attempted with their sub-questions."""
    k2: float = 0.5
    """At most this share of a group is imitated; 1 leaves the selection out."""
    template: str = SUBQUESTIONS
    """How sub-questions are shown; {prompt} is the problem."""
    diversity: str = DIVERSITY
    """The context that is imitated in; "{prompt}" alone leaves the diversity prompt out."""
    keep_guidance: bool = False
    """Imitate with the sub-questions in the context, as the paper's ablation does."""

    def __post_init__(self) -> None:
        GRPO.__post_init__(self)
        check_range(self, "alpha", least=0)
        check_range(self, "k1", "k2", above=0, most=1)
        if not self.most_imitated:
            raise ConfigError(f"k2 of a group must be at least one attempt, and {self.k2:g} of {self.group} is not")

    @property
    def most_imitated(self) -> int:
        """k2·n, in whole attempts."""
        return int(self.k2 * self.group + 1e-9)

    @property
    def rollouts(self) -> int:
        """Most episodes that a step plays: every group may be played again."""
        return 2 * self.tasks * self.group * self.rounds

    def check(self, task: Task) -> None:
        """Raise `TaskError` for a task without an answer or sub-questions, naming the command that writes these."""
        GRPO.check(self, task)
        check_help((task,), "subquestions")
        with_template(with_subquestions(task, self.template), self.diversity)

    def gather(self, source: Source) -> Material:
        """Plain attempts, and the successes to imitate of those with sub-questions."""
        played = play_groups(source, tasks=self.tasks, copies=self.group, rounds=self.rounds, useful=self.teaches)
        samples = [s for group in played.useful for s in weigh(group, self.advantages(group.rewards))]
        hard = [group.task for group in played.groups if group.graded and mean(group.graded) < self.k1]
        guided = source.play([with_subquestions(task, self.template) for task in hard], self.group)
        distilled = self.distil(hard, guided, len(played.groups), source)
        measures = {
            **measure(played),
            **measure_guided(guided),
            "hard_groups": len(hard),
            "distilled": len(distilled),
        }
        return Material(samples=(*self.with_reference(samples, source), *distilled), measures=measures)

    def distil(
        self, hard: Sequence[Task], guided: Sequence[Group], questions: int, source: Source
    ) -> tuple[Sample, ...]:
        """The selected successes, in the context they are imitated in. Raises `ConfigError` for several actions.

        Their weights make the term the mean over all `questions`, of which the easy ones contribute nothing.
        """
        chosen: list[Sample] = []
        for task, group in zip(hard, guided, strict=True):
            successes = [trajectory for trajectory in group.trajectories if trajectory.reward >= CORRECT]
            selected = successes[: self.most_imitated]
            if any(len(trajectory.steps) > 1 for trajectory in selected):
                raise ConfigError("sub-questions can be taken out of an attempt of one action only; set max_steps to 1")
            samples = [sample for trajectory in selected for sample in to_samples(trajectory)]
            if samples and not self.keep_guidance:
                context = source.context(with_template(task, self.diversity))
                samples = [sample.trained_in(context) for sample in samples]
            chosen += [replace(s, term=Term.DISTILLATION, weight=1 / (len(samples) * questions)) for s in samples]
        return tuple(replace(sample, weight=sample.weight * len(chosen)) for sample in chosen)

    def loss(self, logprobs_N: Tensor, batch: TokenBatch) -> Loss:
        """GRPO's loss, and α times the distillation's."""
        own = GRPO.loss(self, logprobs_N, batch)
        imitation = losses.nll(logprobs_N, batch.weights_of(Term.DISTILLATION))
        return Loss(own.value + self.alpha * imitation, {**own.measures, "distillation": float(imitation.detach())})
