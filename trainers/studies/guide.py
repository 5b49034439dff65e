"""Guide (arXiv 2506.13923): do hints where every attempt fails teach a model to do without them?

The warm start solves easy problems alone, and hard ones with a hint, which names the sums of the columns.
"""

from __future__ import annotations

from collections.abc import Sequence

from stepgym.trainers.studies.claims import at_most, both, higher
from stepgym.trainers.studies.material import Mix
from stepgym.trainers.studies.results import Results, spread
from stepgym.trainers.studies.study import Arm, Claim, Sheet, Start, Study, stage

STEPS = 100
SHARED = ("tasks=8", "group=8", "learning_rate=1e-3")
STARTING = ("pool=true", "mixed=false")
"""The grouping with which Guide can start on this problem: see the study guide-rule."""
CRITIC = "critic_learning_rate=1e-3"


def compression_and_gain(results: Results) -> Sequence[Sheet]:
    """Where the rise of pass@1 comes from: problems that the start solved in some of its attempts, and in none.

    With U the problems that it never solved, avg after - avg before = |U|/n · (avg on U after) + the rest, exactly: the
    first is capability gained, the rest is pass@k compressed into pass@1.
    """
    rows = []
    for arm in results.study.arms:
        start = results.start_of(arm.name)
        unsolved, solved_now, gained, compressed = [], [], [], []
        for seed in results.seeds(arm.name, start):
            before, after = (results.outcomes[name][seed].measured for name in (start, arm.name))
            share = [(b / before.samples, a / after.samples) for b, a in zip(before.solved, after.solved, strict=True)]
            new = [a for b, a in share if not b]
            unsolved.append(len(new) / len(share))
            solved_now.append(sum(a > 0 for a in new) / len(new) if new else 0.0)
            gained.append(sum(new) / len(share))
            compressed.append(sum(a - b for b, a in share if b) / len(share))
        rows.append((arm.name, *(str(spread(each)) for each in (unsolved, solved_now, gained, compressed))))
    k = results.study.problem.start_samples
    head = ("", f"unsolved by the start in {k}", "of these solved after", "pass@1 gained there", "gained elsewhere")
    return (Sheet("Capability gain (there) and compression of pass@k into pass@1 (elsewhere)", head, tuple(rows)),)


STUDY = Study(
    name="guide",
    title="Guide: hints where every attempt fails",
    hypothesis="Guide-GRPO beats GRPO and filtered GRPO where plain pass@k is about 0; the ratio against the hinted "
    "context beats training on the hinted prompt, and no correction.",
    starts=(
        Start(
            mix=Mix(plain=1500, hinted=1500),
            training=stage("sft", steps=500, warmup=50, cooldown=150, evaluate_every=100),
        ),
    ),
    arms=(
        Arm(
            name="grpo",
            about="GRPO; groups without any difference stay in the batch.",
            stages=(stage("grpo", *SHARED, "min_std=-1", steps=STEPS),),
        ),
        Arm(
            name="filtered",
            about="GRPO with dynamic sampling: other problems are drawn in place of groups that teach nothing.",
            stages=(stage("grpo", *SHARED, "rounds=2", steps=STEPS),),
        ),
        Arm(
            name="guide",
            about="Guide-GRPO: the ratio against the hinted context, shaped; failed and hinted attempts in one group.",
            stages=(stage("guide-grpo", *SHARED, *STARTING, steps=STEPS),),
        ),
        Arm(
            name="released",
            about="Guide-GRPO as released: the hinted group replaces the failed one.",
            stages=(stage("guide-grpo", *SHARED, steps=STEPS),),
        ),
        Arm(
            name="on-hint",
            about="The same hinted attempts, trained with the hint in the prompt.",
            stages=(stage("guide-grpo", *SHARED, *STARTING, "correction=on-hint", steps=STEPS),),
        ),
        Arm(
            name="no-correction",
            about="Trained without the hint, as if sampled without it: the ratio begins at 1.",
            stages=(stage("guide-grpo", *SHARED, *STARTING, "correction=none", steps=STEPS),),
        ),
        Arm(
            name="ppo",
            about="PPO with a critic.",
            stages=(stage("ppo", *SHARED, CRITIC, steps=STEPS),),
        ),
        Arm(
            name="guide-ppo",
            about="Guide with PPO's critic in place of the group.",
            stages=(stage("guide-ppo", *SHARED, *STARTING, CRITIC, steps=STEPS),),
        ),
    ),
    claims=(
        Claim(
            "GRPO cannot start: the warm start solves no hard problem in 64 attempts, and GRPO none after.",
            both(at_most("start", "pass@64", 0.05), at_most("grpo", "greedy", 0.02)),
        ),
        Claim("Guide-GRPO beats GRPO.", higher("guide", "grpo")),
        Claim("Guide-GRPO beats filtered GRPO.", higher("guide", "filtered")),
        Claim("The ratio against the hinted context beats training on the hinted prompt.", higher("guide", "on-hint")),
        Claim("The ratio against the hinted context beats no correction.", higher("guide", "no-correction")),
        Claim("Pooled and without a correction, hinted attempts beat GRPO.", higher("no-correction", "grpo")),
        Claim("Guide-PPO beats PPO.", higher("guide-ppo", "ppo")),
        Claim("The released grouping is as good as pooling.", higher("released", "guide", margin=-0.02)),
    ),
    columns=("greedy", "average", "pass@8", "pass@16", "hinted", "kept"),
    sheets=compression_and_gain,
)
