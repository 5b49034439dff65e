"""SRL (arXiv 2510.25992): does the likeness of each step teach more than that of the whole, or the answer?

The warm start solves easy problems, and hard ones with a hint; without, it knows the form of a solution and not its
digits. So nearly every group of RLVR is all wrong, while steps differ in how nearly right they are. All arms sample
about as many tokens, but for SFT.
"""

from __future__ import annotations

from stepgym.trainers.studies.claims import at_least, at_most, both, higher
from stepgym.trainers.studies.material import Mix
from stepgym.trainers.studies.study import Arm, Claim, Start, Study, stage

SFT_STEPS, SFT_RATE = 60, "learning_rate=1e-3"
SRL_STEPS = 150
FIRST, THEN = 110, 20
"""Steps of SRL and then of RLVR: about as many sampled tokens as `SRL_STEPS` of SRL."""
RLVR_STEPS = 40
SHARED = ("learning_rate=1e-3", "epochs=2", "group=8")
STEPWISE = (*SHARED, "tasks=32", "last=true")
WHOLE = (*SHARED, "tasks=16")
STEP_ENV = {"env_settings": ("think=false", "instructions=")}
ONE_STEP = {**STEP_ENV, "stop": (";",), "evaluate_every": 20}

STUDY = Study(
    name="srl",
    title="SRL: rewards for steps where no answer is ever right",
    hypothesis="Multi-step similarity teaches more than holistic similarity, and that more than final-answer RLVR, on "
    "problems where RLVR's groups are all wrong; dynamic sampling helps; SRL followed by RLVR is best.",
    starts=(
        Start(
            mix=Mix(plain=1500, guessed=200, hinted=1500),
            training=stage("sft", steps=600, warmup=50, cooldown=150, evaluate_every=100),
        ),
    ),
    arms=(
        Arm(
            name="rlvr",
            about="GRPO on the final answer.",
            stages=(stage("grpo", *WHOLE, steps=RLVR_STEPS),),
        ),
        Arm(
            name="holistic",
            about="GRPO on the similarity of the whole solution to the expert's.",
            stages=(stage("holistic", *WHOLE, "rounds=2", steps=RLVR_STEPS, **STEP_ENV),),
        ),
        Arm(
            name="srl",
            about="GRPO on the similarity of each step to the expert's, with dynamic sampling.",
            stages=(stage("srl", *STEPWISE, "rounds=2", steps=SRL_STEPS, **ONE_STEP),),
        ),
        Arm(
            name="srl-all-groups",
            about="SRL without dynamic sampling: every group is kept, whatever its spread.",
            stages=(stage("srl", *STEPWISE, "rounds=1", "min_std=-1", steps=SRL_STEPS, **ONE_STEP),),
        ),
        Arm(
            name="srl-rlvr",
            about=f"SRL for {FIRST} steps, then GRPO on the final answer for {THEN}.",
            stages=(
                stage("srl", *STEPWISE, "rounds=2", steps=FIRST, **ONE_STEP),
                stage("grpo", *WHOLE, steps=THEN),
            ),
        ),
        Arm(
            name="sft",
            about="Imitation of the same experts: the baseline to be honest about.",
            stages=(stage("sft", "tasks=32", SFT_RATE, steps=SFT_STEPS),),
        ),
    ),
    claims=(
        Claim(
            "RLVR cannot start: the warm start solves none of the hard problems, and RLVR none after.",
            both(at_most("start", "pass@16", 0.01), at_most("rlvr", "greedy", 0.02)),
        ),
        Claim("Holistic similarity teaches more than the final answer.", higher("holistic", "rlvr")),
        Claim("Multi-step similarity (SRL) teaches more than holistic similarity.", higher("srl", "holistic")),
        Claim("Dynamic sampling helps SRL.", higher("srl", "srl-all-groups")),
        Claim("SRL followed by RLVR is better than as much SRL alone.", higher("srl-rlvr", "srl")),
        Claim("SRL is better than imitating the same experts.", higher("srl", "sft")),
        Claim("SRL does not forget the easy problems.", at_least("srl", "kept", 0.9)),
    ),
)
