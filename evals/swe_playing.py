"""The environments and agents of an evaluation on software-engineering tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepgym.envs.swe import SWEEnv
from stepgym.envs.text import Outcome, TextEnv
from stepgym.errors import PolicyError, SandboxError
from stepgym.evals.swe_instances import InstanceFolder
from stepgym.evals.swe_judging import KeptTests
from stepgym.evals.swe_predictions import Prediction
from stepgym.records import Reply, Stop, Task

LONGEST = 1 << 28
"""Characters of an episode's actions: a patch may be large."""


class EvaluatedEnv(SWEEnv):
    """``stepgym/SWE-v0`` as evaluations play it: what is there when a budget runs out is judged, as SWE-agent has it.

    Where the sandbox fails, the episode fails, and is played again: there is nothing to judge.
    """

    def __init__(self, tasks: tuple[Task, ...], tests: KeptTests, **settings: Any) -> None:
        """`settings` are those of `SWEEnv`. Its sandboxes are those of `tests`."""
        super().__init__(
            tasks,
            sandbox=tests.sandbox,
            spec=tests.spec,
            reward=tests,
            autosubmit=True,
            max_characters=LONGEST,
            **settings,
        )
        self._kept = tests.folder

    def begin(self) -> str:
        """As `SWEEnv`; nothing is left of an earlier try."""
        InstanceFolder(self._kept, self.task.id).forget()
        return super().begin()

    def broken(self, error: SandboxError, observation: str) -> Outcome:  # noqa: ARG002
        """Raises the error."""
        raise error


class PredictionEnv(TextEnv):
    """The one action is a patch, and the hidden tests judge it. The observation is the task's id, and the issue."""

    def __init__(self, tasks: tuple[Task, ...], tests: KeptTests) -> None:
        super().__init__(tasks, reward=tests, max_steps=1, max_characters=LONGEST)

    def begin(self) -> str:
        """The id in a line, and the issue."""
        return f"{self.task.id}\n\n{self.task.prompt}"

    def advance(self, action: str) -> Outcome:
        """Judge the patch."""
        return Outcome("", self.judge(action), Stop.ANSWERED)


class PredictionAgent:
    """Hands in the patches that were made elsewhere."""

    def __init__(self, predictions: Mapping[str, Prediction]) -> None:
        self._predictions = predictions
        self.name = ", ".join(sorted({each.model for each in predictions.values() if each.model})) or "predictions"

    def reset(self, *, seed: int | None = None) -> None:
        """Begin an episode."""

    async def act(self, observation: str) -> Reply:
        """The patch. Raises `PolicyError` where there is none for the task."""
        task = observation.partition("\n")[0]
        if task not in self._predictions:
            raise PolicyError(f"there is no prediction for {task!r}")
        return Reply(text=self._predictions[task].patch)
