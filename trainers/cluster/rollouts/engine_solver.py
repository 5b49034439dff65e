"""The frozen solver of a cluster: engines of its own, shared by all rollout actors, or an endpoint elsewhere."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import Any, Self

from stepgym.agents.endpoint import OpenAIPolicy
from stepgym.agents.policy import Sampling
from stepgym.agents.solver import PolicySolver
from stepgym.envs.solver import CachedSolver
from stepgym.errors import PolicyError, RewardError
from stepgym.records import Task
from stepgym.trainers.cluster.rollouts.engine_policy import beside


class EngineSolver:
    """Solves tasks with rollout actors that play no episodes. A `stepgym.envs.solver.Solver`, called from threads.

    An engine batches all that it is asked at a time, by any number of rollout actors.
    """

    def __init__(self, engines: Sequence[Any], *, max_tokens: int) -> None:
        """`engines` are Ray handles, asked in turn; solutions have at most `max_tokens` tokens."""
        self._engines, self._max_tokens = tuple(engines), max_tokens
        self._turns = itertools.count(os.getpid())  # so that not every actor begins with the same

    def __call__(self, task: Task, tries: int, /) -> Sequence[str]:
        """`tries` solutions of ``task.prompt``. Raises `RewardError` for a prompt that does not fit.

        An engine that died is not the solver's verdict on anything: Ray's own error escapes, and the job starts again.
        """
        import ray

        engine = self._engines[next(self._turns) % len(self._engines)]
        try:
            texts: list[str] = ray.get(engine.solve.remote(task.prompt, tries, self._max_tokens))
        except PolicyError as error:
            raise RewardError(f"the solver failed: {error}") from error
        return texts

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # copies of an environment ask the same engines


def endpoint_solver(url: str, *, max_tokens: int) -> PolicySolver:
    """The first model that the OpenAI-compatible endpoint at `url` serves.

    Raises `PolicyError` where none answers.
    """
    return PolicySolver(OpenAIPolicy(_served(url), base_url=url), sampling=Sampling(max_tokens=max_tokens), system="")


async def cluster_solver(engines: Sequence[Any], url: str, *, max_tokens: int) -> CachedSolver:
    """That of `url` if there is one, else that of `engines`; each question is asked once."""
    if url:
        return CachedSolver(await beside(lambda: endpoint_solver(url, max_tokens=max_tokens)))
    return CachedSolver(EngineSolver(engines, max_tokens=max_tokens))


def _served(url: str) -> str:
    import httpx

    key = os.environ.get("OPENAI_API_KEY", "")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx.get(f"{url.rstrip('/')}/models", headers=headers, timeout=30.0).raise_for_status().json()
        name: str = answer["data"][0]["id"]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError) as error:
        raise PolicyError(f"the solver's address {url} does not say which model it serves: {error}") from error
    return name
