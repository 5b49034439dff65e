"""How weights get from the trainer to vLLM without NCCL."""

from __future__ import annotations

from typing import Any


class StoreCommunicator:
    """Broadcasts through the TCP store of vLLM's ``StatelessProcessGroup``, called as its ``PyNcclCommunicator`` is."""

    def __init__(self, group: Any) -> None:
        self._group = group

    def broadcast(self, tensor: Any, src: int, stream: object = None) -> None:  # noqa: ARG002 NCCL's
        """Fill `tensor` with what rank `src` has in its own."""
        import torch

        with torch.no_grad():
            sent = tensor.detach().clone().contiguous() if self._group.rank == src else tensor
            received = self._group.broadcast(sent, src)
            if self._group.rank != src:
                tensor.copy_(received)


def weights_group(
    master_address: str,
    master_port: int,
    rank: int,
    world_size: int,
    device: object,  # noqa: ARG001 NCCL's
) -> Any:
    """In the place of OpenRLHF's ``stateless_init_process_group``."""
    from vllm.distributed.utils import StatelessProcessGroup

    group = StatelessProcessGroup.create(host=master_address, port=master_port, rank=rank, world_size=world_size)
    return StoreCommunicator(group)
