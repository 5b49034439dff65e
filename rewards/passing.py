"""pass@k: the chance that at least one of k samples is right."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stepgym.errors import ConfigError
from stepgym.records import Attempt, Score, Status, Task
from stepgym.rewards.contract import Reward, check_task


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Unbiased estimate of pass@k from `n` samples, `correct` of them right: 1 − C(n−c, k) / C(n, k).

    Chen et al., "Evaluating Large Language Models Trained on Code" (arXiv 2107.03374), equation 1, in the product form,
    which does not overflow. The plug-in estimate 1 − (1 − c/n)^k is biased low. Raises `ConfigError` unless
    0 ≤ correct ≤ n and 1 ≤ k ≤ n: fewer than k samples cannot tell.
    """
    if not 0 <= correct <= n:
        raise ConfigError(f"pass@{k}: {correct} correct samples of {n}; the count must lie between 0 and {n}")
    if not 1 <= k <= n:
        raise ConfigError(
            f"pass@{k} cannot be estimated from {n} samples; k must lie between 1 and the number of samples"
        )
    return 1.0 - math.prod(1.0 - k / i for i in range(n - correct + 1, n + 1))


@dataclass(frozen=True, slots=True)
class PassAtK:
    """A reward that a solver's success decides: did at least one of its samples pass `reward`?

    The quality term of A2D's decomposer (arXiv 2602.00759, section 2.2): the attempt holds sub-questions, `sample` asks
    a frozen solver for n solutions of the task with their help, and the value is the empirical pass@n, 1 or 0. With `k`
    set, it is the unbiased pass@k over the n samples instead. `judge` is the same for samples at hand.

    Samples that could not be graded are left out. pass@n is ungraded where they could have changed it: one pass
    decides, while no pass decides only when every sample was graded. pass@k is ungraded below k graded samples.
    """

    reward: Reward
    """Judges each sample."""
    sample: Callable[[Attempt], Sequence[Attempt]]
    """The solver's samples for an attempt. What it raises, this reward raises."""
    k: int | None = None
    """None is all the samples."""
    threshold: float = 1.0
    """A sample passes from this value on."""

    def __post_init__(self) -> None:
        if self.k is not None and self.k < 1:
            raise ConfigError(f"PassAtK: k is {self.k}; it must be at least 1")

    def __call__(self, attempt: Attempt, /) -> Score:
        """Sample, and judge the samples."""
        return self.judge(self.sample(attempt))

    def check_task(self, task: Task, /) -> None:
        """Raises what the samples' reward raises."""
        check_task(self.reward, task)

    def judge(self, samples: Sequence[Attempt]) -> Score:
        """The score of a group of samples of one task; `parts` counts the samples, the graded and those that passed."""
        scores = [score for score in map(self.reward, samples) if score.graded]
        passed = sum(score.value >= self.threshold for score in scores)
        counts = {"samples": float(len(samples)), "graded": float(len(scores)), "passed": float(passed)}
        why = f"{passed} of {len(scores)} graded samples passed"
        if self.k is not None:
            value = pass_at_k(len(scores), passed, self.k) if len(scores) >= self.k else math.nan
        elif passed or (samples and len(scores) == len(samples)):
            value = float(passed > 0)
        else:
            value = math.nan
        if math.isnan(value):
            needed = f"{self.k} are needed" if self.k is not None else f"there are {len(samples)}"
            return Score(value, counts, f"{why}; {needed}", Status.ERROR)
        return Score(value, counts, why)
