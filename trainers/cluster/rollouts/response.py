"""A trajectory in the form in which OpenRLHF's agents answer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from stepgym.records import Trajectory
from stepgym.trainers.samples import Sample, to_samples

NOTHING = [0, 0]
"""Tokens of an answer that has none: OpenRLHF's tensors need two."""


def response(
    trajectory: Trajectory, *, prompt: str, label: str, parts: Sequence[str] = (), logprobs: bool = True
) -> dict[str, Any]:
    """What OpenRLHF's ``AgentExecutor.execute`` returns.

    It holds the last stretch of the episode in which history was not rewritten, and the reward of the whole. No token
    of an ungraded episode is trained: its ``action_ranges`` are empty, its reward 0 for want of a number, and
    ``extra_logs`` says so. The same `parts` of rewards are logged of each episode, as sums over its steps, for OpenRLHF
    batches them: one that an episode has not is 0.
    """
    graded = trajectory.graded
    samples = to_samples(trajectory) if any(step.reply.prompt for step in trajectory.steps) else []
    last = samples[-1] if samples else None
    reward = trajectory.reward if graded else 0.0
    logs = {"turns": float(len(trajectory.steps)), "ungraded": float(not graded)}
    return {
        "prompt": prompt,
        "label": label,
        "images": None,
        "mm_train_inputs": None,
        "reward": reward,
        "scores": reward,
        "observation_tokens": [*last.context, *last.tokens] if last else list(NOTHING),
        "action_ranges": _ranges(last) if last and graded else [],
        "rollout_log_probs": _logprobs(last) if logprobs else None,
        "truncated": any(not step.reply.finished for step in trajectory.steps[-1:]),
        "extra_logs": logs | {name: _part(trajectory, name) for name in parts},
    }


def _ranges(sample: Sample) -> list[tuple[int, int]]:
    """From the first to behind the last token of each reply, in the whole sequence."""
    start, marks = len(sample.context), (False, *sample.trained, False)
    edges = [start + i for i, (one, other) in enumerate(itertools.pairwise(marks)) if one != other]
    return list(zip(edges[::2], edges[1::2], strict=True))


def _logprobs(sample: Sample | None) -> list[float]:
    return [*[0.0] * len(sample.context), *sample.logprobs] if sample else [0.0] * len(NOTHING)


def _part(trajectory: Trajectory, name: str) -> float:
    total = math.fsum(float(step.score.parts.get(name, 0.0)) for step in trajectory.steps)
    return total if math.isfinite(total) else 0.0
