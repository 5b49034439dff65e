"""A2D (arXiv 2602.00759): does pass@k keep a decomposer from writing whole solutions, and does distillation beat GRPO?

One small model plays the decomposer and its frozen solver: its warm start solves easy problems alone, hard ones with
worked steps or coarse sub-questions in the prompt, and writes decompositions of both kinds, one as often as the other.
The reasoner has a warm start of its own, since one that knows decompositions solves a few hard problems without help.
"""

from __future__ import annotations

from collections.abc import Sequence

from stepgym.trainers.studies.claims import at_most, both, higher
from stepgym.trainers.studies.material import DECOMPOSE, Mix
from stepgym.trainers.studies.results import Results
from stepgym.trainers.studies.study import Arm, Claim, Sheet, Start, Study, stage

STEPS, ASKING = 100, 30
"""Of a reasoner, and of a decomposer."""
SHARED = ("tasks=8", "group=8", "learning_rate=1e-3")
REASONER = (*SHARED, "alpha=0.5", "k1=0.5", "k2=0.5")
DECOMPOSER = ("tasks=8", "group=8", "learning_rate=3e-4")
TRIES = 4
ASKED = {"env_settings": (f"tries={TRIES}", f"template={DECOMPOSE}"), "max_tokens": 128, "evaluate_every": 10}
PASS_AT_1 = {**ASKED, "env_settings": (*ASKED["env_settings"], "k=1")}  # type: ignore[misc]
WARM = stage("sft", steps=700, warmup=50, cooldown=200, evaluate_every=100)
DECOMPOSITIONS = ("well formed", "tokens", "sub-questions", "worked", "whole", "solver pass@1", "solver pass@n")
MEASURE = "stepgym.trainers.studies.measuring:measure_decomposer"


def decompositions(results: Results) -> Sequence[Sheet]:
    """What the decomposers write."""
    names = [arm.name for arm in results.study.arms if arm.measure == MEASURE]
    rows = [(name, *(str(results.spread(name, measure)) for measure in DECOMPOSITIONS)) for name in names]
    title = "Decompositions of held-out hard problems, and what the frozen solver makes of them"
    return (Sheet(title, ("", *DECOMPOSITIONS), tuple(rows)),)


STUDY = Study(
    name="a2d",
    title="A2D: sub-questions, and doing without them",
    hypothesis="A decomposer rewarded by pass@k writes short sub-questions, one rewarded by pass@1 whole solutions; a "
    "reasoner with in-context distillation beats GRPO, and each part of it helps.",
    starts=(
        Start(name="asker", mix=Mix(plain=1500, coarse=700, worked=700, decomposed=800), training=WARM),
        Start(name="start", mix=Mix(plain=1500, worded=300, coarse=1500), training=WARM),
    ),
    arms=(
        Arm(
            name="decomposer-untrained",
            about="The decomposer before any training, but for one step at a rate of nearly 0.",
            stages=(stage("a2d-decomposer", *DECOMPOSER[:2], "learning_rate=1e-12", steps=1, **ASKED),),
            start="asker",
            measure=MEASURE,
        ),
        Arm(
            name="decomposer-pass-n",
            about=f"The decomposer, rewarded if its solver succeeds within {TRIES} tries.",
            stages=(stage("a2d-decomposer", *DECOMPOSER, steps=ASKING, **ASKED),),
            start="asker",
            measure=MEASURE,
        ),
        Arm(
            name="decomposer-pass-1",
            about="The same, rewarded by the share of tries that succeed.",
            stages=(stage("a2d-decomposer", *DECOMPOSER, steps=ASKING, **PASS_AT_1),),
            start="asker",
            measure=MEASURE,
        ),
        Arm(
            name="grpo",
            about="The reasoner without help.",
            stages=(stage("grpo", *SHARED, steps=STEPS),),
        ),
        Arm(
            name="a2d",
            about="The reasoner with in-context distillation.",
            stages=(stage("a2d-reasoner", *REASONER, steps=STEPS),),
        ),
        Arm(
            name="keep-guidance",
            about="Distilled with the sub-questions in the prompt.",
            stages=(stage("a2d-reasoner", *REASONER, "keep_guidance=true", steps=STEPS),),
        ),
        Arm(
            name="no-selection",
            about="Every correct helped attempt is distilled.",
            stages=(stage("a2d-reasoner", *REASONER[:-1], "k2=1.0", steps=STEPS),),
        ),
        Arm(
            name="no-diversity",
            about="Distilled under the very prompt of RL.",
            stages=(stage("a2d-reasoner", *REASONER, "diversity={prompt}", steps=STEPS),),
        ),
        Arm(
            name="always-helped",
            about="GRPO with the sub-questions in every prompt.",
            stages=(stage("grpo", *SHARED, steps=STEPS),),
            helped=True,
        ),
    ),
    claims=(
        Claim(
            "Rewarded by pass@1, decompositions are whole solutions more often than by pass@n.",
            higher("decomposer-pass-1", "decomposer-pass-n", "whole"),
        ),
        Claim(
            "Rewarded by pass@n, decompositions are shorter than by pass@1.",
            higher("decomposer-pass-1", "decomposer-pass-n", "tokens", margin=1.0),
        ),
        Claim(
            "Training the decomposer makes its solver succeed more often.",
            higher("decomposer-pass-n", "decomposer-untrained", "solver pass@n"),
        ),
        Claim(
            "GRPO cannot start: the warm start solves no hard problem in 16 attempts, and GRPO none after.",
            both(at_most("start", "pass@16", 0.01), at_most("grpo", "greedy", 0.02)),
        ),
        Claim("A2D beats GRPO.", higher("a2d", "grpo")),
        Claim("Removing the guidance from the prompt helps.", higher("a2d", "keep-guidance")),
        Claim("Selection helps.", higher("a2d", "no-selection")),
        Claim("The diversity prompt helps.", higher("a2d", "no-diversity")),
        Claim("A2D beats GRPO with sub-questions in every prompt.", higher("a2d", "always-helped")),
    ),
    columns=("greedy", "average", "pass@8", "pass@16", "asked", "kept"),
    sheets=decompositions,
)
