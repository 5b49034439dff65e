"""The frozen solver's engines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray
from openrlhf.trainer.ray import vllm_engine

from stepgym.trainers.cluster.job import Job


def give_solver(args: Any, actors: Sequence[Any]) -> list[Any]:
    """Start them, if an environment of the run takes a solver, and tell the rollout `actors` of them.

    They live as long as the process that started them. None are started where the solver is served elsewhere.
    """
    job: Job = args.stepgym
    if not (job.training.takes("solver") or job.evaluation.takes("solver")):
        return []
    url = job.config.cluster.solver_url
    engines = [] if url else start_solver(args)
    ray.get([actor.use_solver.remote(engines, url, job.config.max_tokens) for actor in actors])
    return engines


def start_solver(args: Any) -> list[Any]:
    """As many engines of the solver's model as the run is to have, on GPUs of their own."""
    from stepgym.trainers.cluster.rollouts.rollout_actor import RolloutActor

    job: Job = args.stepgym
    vllm_engine.RolloutRayActor = ray.remote(RolloutActor)  # create_vllm_engines takes it from there
    engines: list[Any] = vllm_engine.create_vllm_engines(
        job.config.cluster.solver_engines,
        args.vllm.tensor_parallel_size,
        job.solver,
        args.train.seed,
        args.train.full_determinism_enable,
        args.vllm.enable_prefix_caching,
        args.vllm.enforce_eager,
        args.data.max_len,
        gpu_memory_utilization=args.vllm.gpu_memory_utilization,
        agent_func_path=args.train.agent_func_path,
    )
    return engines
