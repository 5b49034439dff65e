"""The main job on one CPU, in a few minutes: step, grade, learn, evaluate.

    make demo            or: python examples/demo.py

A transformer with random weights learns column addition, written out digit by digit: first from worked solutions of
short sums (supervised), then from its own attempts at longer ones that it mostly gets wrong (GRPO), with nothing but a
verifier to tell right from wrong. Everything is kept in ``runs/demo``; run again, it goes on where it was stopped.
"""

from __future__ import annotations

import math
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import tyro

from stepgym import Attempt, Task
from stepgym.errors import StepgymError
from stepgym.evals.maths import MathEval, evaluate_math
from stepgym.evals.report import format_report
from stepgym.rewards import MathVerifier
from stepgym.tasks import load
from stepgym.trainers import TrainConfig, Training, train


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """Settings of the demo."""

    out: Path = Path("runs/demo")
    """Where everything is kept."""
    seed: int = 0
    """Another seed, another run."""
    smoke: bool = False
    """A few steps of everything, to see that it works: nothing is learned."""


def main(demo: Demo) -> None:
    """Run all sections."""
    started = time.monotonic()
    step_a_problem()
    grade_answers()
    warm = warm_start(demo)
    before = evaluate(demo, "before", warm)
    learned = reinforce(demo, warm)
    after = evaluate(demo, "after", learned)
    heading("Result")
    print(f"Four-digit sums never seen before, solved: {before:.1%} before GRPO, {after:.1%} after it.")
    print(f"Made in {time.monotonic() - started:.0f} s:\n")
    evaluation = demo.out / "evaluation-after"
    for what, path in (
        ("learning curve", learned.curve),
        ("report, with attempts", learned.report),
        ("checkpoint", learned.checkpoint),
        ("evaluation, every attempt", evaluation / "trajectories.jsonl"),
        ("evaluation, the numbers", evaluation / "report.json"),
    ):
        print(f"  {what:26} {path}")


def heading(text: str) -> None:
    """A line that begins a section."""
    print(f"\n\033[1m{text}\033[0m\n" if sys.stdout.isatty() else f"\n== {text}\n", flush=True)


def step_a_problem() -> None:
    """One worked problem through `gym.make`: an action is a step of the solution."""
    heading("1. A mathematical problem is a Gymnasium environment; an action is one step of the solution")
    problem(load("worked")[0])
    data = Path(os.environ.get("STEPGYM_DATA", "none"))
    if any(data.rglob("aime24*")):
        task = load("aime24")[0]
        print("\nA problem of AIME 2024:\n")
        problem(Task(id=task.id, prompt=task.prompt, answer=task.answer, steps=(f"\\boxed{{{task.answer}}}",)))


def problem(task: Task) -> None:
    """Step through the solution that the task carries."""
    env = gym.make("stepgym/Math-v0", tasks=(task,), instructions="")
    observation, _ = env.reset(seed=0)
    print(f"    {observation}")
    for step in task.steps:
        _, reward, terminated, truncated, info = env.step(step)
        print(f"  > {step}\n    reward {reward}, {info['score'].why or 'not answered yet'}")
        if terminated or truncated:
            break
    env.close()


def grade_answers() -> None:
    """The verifier: equal forms are equal, a list of guesses is not an answer."""
    heading("2. Answers are graded by what they mean")
    verifier = MathVerifier()
    for gold, text in (
        (r"\frac{1}{2}", r"so the probability is \boxed{0.5}"),
        (r"2\sqrt{3}", r"\boxed{\sqrt{12}}"),
        (r"(-\infty, 2]", r"\boxed{x \le 2}"),
        ("12559", r"\boxed{12,559}"),
        ("12559", r"\boxed{12558}"),
        ("3", r"it is \boxed{2} or \boxed{3}"),
        ("3", "I believe that it is three or so"),
    ):
        score = verifier(Attempt(task=Task(id="", prompt="", answer=gold), text=text))
        print(f"  {gold:16} {text:38} {score.status:11} {score.why}")


def warm_start(demo: Demo) -> Training:
    """Worked solutions of short sums, and of a few four-digit ones: enough for an occasional success."""
    heading("3. Warm start: imitate worked solutions of short sums (SFT)")
    source = f"addition?split=train&seed={demo.seed}"
    print(f"  {load(source)[0].prompt} {' '.join(load(source)[0].steps)}\n")
    training = train(
        TrainConfig(
            recipe="sft",
            tasks=tuple(f"{source}&level={level}&count={count}" for level, count in WARM_TASKS),
            held_out=("addition?level=4&count=100&split=test",),
            steps=20 if demo.smoke else 800,
            target=0.1,
            settings=("tasks=8",) if demo.smoke else (),
            warmup=50,
            cooldown=20,
            evaluate_every=20,
            out=demo.out / "warm-start",
            seed=demo.seed,
        )
    )
    print(f"  {training.after.reward:.0%} of held-out four-digit sums solved after {training.steps} steps")
    return training


WARM_TASKS = ((1, 64), (2, 1000), (3, 3000), (4, 600))
"""Number of digits, and how many sums of that length have a worked solution."""


def reinforce(demo: Demo, warm: Training) -> Training:
    """Attempts at four-digit sums, rewarded by the verifier: no solution is shown."""
    heading("4. Reinforcement: attempt four-digit sums, and learn from the verdicts alone (GRPO)")
    training = train(
        TrainConfig(
            recipe="grpo",
            settings=("tasks=4", "group=4")
            if demo.smoke
            else ("tasks=32", "group=8", "epochs=2", "learning_rate=3e-4"),
            tasks=(f"addition?level=4&count=3000&split=train&seed={demo.seed}",),
            held_out=("addition?level=4&count=100&split=test",),
            start=warm.checkpoint,
            steps=3 if demo.smoke else 80,
            target=0.95,
            evaluate_every=5,
            out=demo.out / "grpo",
            seed=demo.seed,
        )
    )
    print(f"  held-out four-digit sums solved: {training.before.reward:.1%} before, {training.after.reward:.1%} after")
    if training.idle_steps:
        print(f"  in {training.idle_steps} steps every group was all right or all wrong, which teaches nothing")
    return training


def evaluate(demo: Demo, when: str, training: Training) -> float:
    """The accuracy on held-out sums, with the evaluation that works for any policy and benchmark."""
    heading(f"Evaluation {when} GRPO (the same as: stepgym eval math --policy local --model CHECKPOINT)")
    report = evaluate_math(
        MathEval(
            policy="local",
            model=str(training.checkpoint),
            tasks=f"addition?level=4&count={20 if demo.smoke else 300}&split=test&seed=1",
            prompt="plain",
            max_tokens=128,
            concurrency=256,
            out=demo.out / f"evaluation-{when}",
        )
    )
    print("\n".join(f"  {line}" for line in format_report(report).splitlines()))
    return report.average.value if report.average is not None else math.nan


if __name__ == "__main__":
    try:
        main(tyro.cli(Demo))
    except StepgymError as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        sys.exit("\nstopped; run it again to go on")
