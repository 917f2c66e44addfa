"""Several processes that train one model, started by torchrun; each computes its rows of a batch.

Gradients are averaged by hand after backward, which suits a GAN better than a wrapper around each
network: two networks take turns, and a forward pass may serve several backward passes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from training.errors import RunError


@dataclass(frozen=True)
class World:
    """The processes of a run, and which of them this is."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process logs, samples and saves."""
        return self.rank == 0

    def average_gradients(self, network: nn.Module) -> None:
        """Replaces gradients by their mean over the processes, in one message."""
        if self.size == 1:
            return
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.size
        parts = flat.split([gradient.numel() for gradient in gradients])  # type: ignore[no-untyped-call]  # torch leaves it untyped
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def average(self, outcome: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Scalars of a step, averaged over the processes."""
        if self.size == 1:
            return dict(outcome)
        values = torch.stack(list(outcome.values()))
        dist.all_reduce(values)
        return dict(zip(outcome, values / self.size, strict=True))

    def highest(self, value: int, device: torch.device) -> int:
        """The highest value of all processes; all of them ask together."""
        if self.size == 1:
            return value
        values = torch.tensor(int(value), device=device)
        dist.all_reduce(values, dist.ReduceOp.MAX)
        return int(values.item())


ALONE = World()


@contextmanager
def join(device: torch.device) -> Iterator[tuple[World, torch.device]]:
    """Joins the processes that torchrun started; alone, a world of one.

    Yields the world, and the device of this process: its own GPU where `device` is CUDA.

    Raises:
        RunError: more processes than GPUs on this machine.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE, device
        return
    if device.type == "cuda":
        local = int(os.environ["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise RunError(
                f"process {local} of this machine has no GPU: there are "
                f"{torch.cuda.device_count()}; lower --nproc-per-node"
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size()), device
    finally:
        dist.destroy_process_group()
