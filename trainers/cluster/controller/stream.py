"""What stands where OpenRLHF has its prompts: the steps of a run, each to be gathered by a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class TaskStream:
    """Counts steps. In the place of OpenRLHF's ``prompts_dataloader``, and saved with its checkpoints as that is.

    Which tasks a step draws depends on the seed and its number alone, so that nothing else need be kept.
    """

    def __init__(self, steps: int) -> None:
        self.last = steps
        """The step that ends the run: earlier once the target is reached."""
        self.step = 0
        """How many have been gathered."""

    def __len__(self) -> int:
        return self.last

    @property
    def exhausted(self) -> bool:
        """Whether there is no step left."""
        return self.step >= self.last

    def state_dict(self) -> dict[str, int]:
        """What `load_state_dict` takes."""
        return {"step": self.step}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on after that step."""
        self.step = state["step"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What gathering the samples of a step came to."""

    step: int
    measures: Mapping[str, float] = field(default_factory=dict)
    """What the recipe said of them."""
    ungraded_why: str = ""
    """Why the first attempt could not be graded that could not."""
    sampled_tokens: int = 0
    """Of all replies that were sampled."""
    trained_tokens: int = 0
    """Of the samples to learn from."""
    seconds: float = 0.0
    """Wall time."""
    own_seconds: float = 0.0
    """Of these, those not spent waiting for episodes, or for a model's word on samples."""


class Batch(list[Any]):
    """Experiences of a step (OpenRLHF's `Experience`), with what gathering them came to.

    A list, as OpenRLHF hands it from the generator to the trainer, through a queue where they are two processes. It is
    true even if it is empty: OpenRLHF passes over what is false, and nobody would hear of the step.
    """

    def __init__(self, experiences: list[Any], gathered: Gathered) -> None:
        super().__init__(experiences)
        self.gathered = gathered

    def __bool__(self) -> bool:
        return True

    def __reduce__(self) -> tuple[Any, ...]:
        return Batch, (list(self), self.gathered)
