"""Data-parallel training of a small network, the same under Sorus and PyTorch:

    sorus run -n 2 examples/train_distributed.py
    FRAMEWORK=torch torchrun --nproc-per-node 2 examples/train_distributed.py

Every rank draws its own part of each batch; the gradients are averaged while backward runs. With --fsdp parameters,
gradients and optimizer state lie in rows at the ranks.
"""

import argparse
import os

if os.environ.get("FRAMEWORK") == "torch":
    import torch
    import torch.distributed as dist
    from torch.distributed.fsdp import fully_shard
else:
    import sorus.distributed as dist
    from sorus.distributed.fsdp import fully_shard

    import sorus as torch

nn = torch.nn
F = nn.functional


class Net(nn.Module):
    """Says in which of eight sectors a point of the plane lies."""

    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 8)
        )

    def forward(self, x):
        return self.layers(x)


def batch(size: int):
    points = torch.randn(size, 2)
    angle = torch.atan2(points[:, 1], points[:, 0])
    return points, ((angle + torch.pi) / (2 * torch.pi) * 8).long().clamp(0, 7)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=128, help="points of each rank")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument(
        "--fsdp", action="store_true", help="shard the parameters instead of keeping them at every rank"
    )
    options = parser.parse_args()

    dist.init_process_group("gloo")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)
    model = Net(options.width)
    if options.fsdp:
        fully_shard(model)
    else:
        model = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    torch.manual_seed(1 + rank)
    for step in range(options.steps):
        points, sectors = batch(options.batch)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(points), sectors)
        loss.backward()
        optimizer.step()
        if step % 100 == 0 or step == options.steps - 1:
            mean = loss.detach()
            dist.all_reduce(mean)
            if rank == 0:
                print(f"step {step} loss {mean.item() / ranks:.4f}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
