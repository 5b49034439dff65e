"""Every error stepgym raises on purpose. Anything else that escapes is a bug.

One base class, and each error also inherits the standard-library error it is a kind of, so code that knows nothing
of stepgym catches it naturally. What an *agent* caused (a wrong answer, a malformed action, a command that failed) is
never one of these: it is an observation and a reward. These say that a person gave bad input, or that our own machinery
broke.

A message is one or two sentences: what is wrong, where (``file:line``), what to do.
"""

from __future__ import annotations


class StepgymError(Exception):
    """Base class: catch this to catch all of them."""


class UnknownNameError(StepgymError, LookupError):
    """A table (environments, rewards, task sets, agents, recipes) has no entry of that name."""

    def __str__(self) -> str:
        return Exception.__str__(self)  # LookupError's kin would print the message in quotes


class ConfigError(StepgymError, ValueError):
    """A setting has a value that cannot work, or a configuration file does not fit its fields."""


class TaskError(StepgymError, ValueError):
    """A task, or the file it came from, cannot be used: a broken line, a missing field, an unreadable gold answer."""


class MissingDependencyError(StepgymError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""


class RewardError(StepgymError, RuntimeError):
    """A grader could not decide. Never mapped to 0: a broken grader must not look like a wrong answer."""


class PolicyError(StepgymError, RuntimeError):
    """A policy could not be sampled: the endpoint failed for good, or the prompt does not fit the model."""


class SandboxError(StepgymError, RuntimeError):
    """The place where untrusted work runs failed itself. A command that fails or times out is a result, not this."""


class StoreError(StepgymError, RuntimeError):
    """A run folder cannot be used: it belongs to another run, is damaged, or another process is writing to it."""


class TrainingError(StepgymError, RuntimeError):
    """A training run broke in a process of its own, and starting it again was of no use."""
