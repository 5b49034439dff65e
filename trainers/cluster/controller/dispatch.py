"""Episodes, asked of the rollout actors."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray

from stepgym.records import Trajectory
from stepgym.trainers.cluster.controller.stopwatch import Stopwatch
from stepgym.trainers.cluster.rollouts.request import EpisodeRequest


class Engines:
    """The rollout actors, as the controller sees them: each has so many episodes at a time, and gets more when done."""

    def __init__(self, actors: Sequence[Any], *, episodes: int, sleeps: bool) -> None:
        """`episodes` is what one actor plays at a time. `sleeps`: they share GPUs with the models, and take turns."""
        self.actors = list(actors)
        self.sleeps, self.episodes = sleeps, episodes
        self.waited = Stopwatch()
        """For them."""
        self._awake = not sleeps

    def wake(self) -> None:
        """Before episodes are asked for."""
        self._turn(True, "wake_up")

    def sleep(self) -> None:
        """Before the models need the GPUs."""
        self._turn(False, "sleep")

    def play(self, requests: Sequence[EpisodeRequest]) -> list[tuple[Trajectory, ...]]:
        """The trajectories of each group, in the order of `requests`.

        A group goes to the actor that has least to do, and waits here while all have enough: which one will be free
        first, nobody knows before.
        """
        waiting = deque(enumerate(requests))
        busy = [0] * len(self.actors)
        asked: dict[Any, _Asked] = {}
        played: dict[int, tuple[Trajectory, ...]] = {}
        while waiting or asked:
            while waiting and self._has_room(min(busy), waiting[0][1]):
                place, request = waiting.popleft()
                actor = busy.index(min(busy))
                busy[actor] += len(request.seeds)
                asked[self._ask(actor, request)] = _Asked(place, actor)
            with self.waited.running():
                ready, _ = ray.wait(list(asked), num_returns=1)
            for reference in ready:
                done = asked.pop(reference)
                busy[done.actor] -= len(requests[done.place].seeds)
                played[done.place] = tuple(response["trajectory"] for response in ray.get(reference))
        return [played[place] for place in range(len(requests))]

    def _has_room(self, busy: int, request: EpisodeRequest) -> bool:
        return not busy or busy + len(request.seeds) <= self.episodes

    def _ask(self, actor: int, request: EpisodeRequest) -> Any:
        return self.actors[actor].generate_responses.remote(
            prompt=request.task.prompt,
            label=request.to_json(),
            num_samples=len(request.seeds),
        )

    def _turn(self, awake: bool, method: str) -> None:
        if self.sleeps and awake != self._awake:
            with self.waited.running():
                ray.get([getattr(actor, method).remote() for actor in self.actors])
            self._awake = awake


@dataclass(frozen=True, slots=True)
class _Asked:
    place: int
    """Of the request."""
    actor: int
