"""What vLLM's worker process is given, by name, to receive weights with."""

from __future__ import annotations

from typing import Any

import torch
from openrlhf.trainer.ray.vllm_worker_wrap import WorkerWrap

from stepgym.trainers.cluster.cpu.weights import weights_group


class CpuWorkerWrap(WorkerWrap):
    """OpenRLHF's, for vLLM's CPU backend.

    That packs linear weights and drops the originals, so that a parameter cannot be loaded alone: they are collected
    (OpenRLHF marks the last one with ``empty_cache``) and loaded together.
    """

    def init_process_group(
        self,
        master_address: str,
        master_port: int,
        rank_offset: int,
        world_size: int,
        group_name: str,  # noqa: ARG002
        backend: str = "gloo",  # noqa: ARG002
        use_ray: bool = False,  # noqa: ARG002
    ) -> None:
        """Meet the trainer's process."""
        rank = torch.distributed.get_rank() + rank_offset
        self._model_update_group = weights_group(master_address, master_port, rank, world_size, self.device)
        self._received: list[tuple[str, Any]] = []

    def update_weight(self, name: str, dtype: Any, shape: Any, empty_cache: bool = False) -> None:
        """Receive one parameter; load all with the last."""
        if dtype != self.model_config.dtype:
            raise TypeError(f"{name} is sent as {dtype}, and the engine holds {self.model_config.dtype}")
        weight = torch.empty(shape, dtype=dtype)
        self._model_update_group.broadcast(weight, src=0)
        self._received.append((name, weight))
        if empty_cache:
            received, self._received = self._received, []
            self.model_runner.reload_weights(weights_iterator=iter(received))
