"""fully_shard equals DistributedDataParallel to the bit, and its checkpoint is the same under any number of ranks."""

import math
import sys

import sorus.distributed as dist
import sorus.distributed.checkpoint as dcp
from sorus.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

import sorus
from sorus import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 6)) for _ in range(3)])
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


def make(sharded):
    sorus.manual_seed(3)
    net = Net()
    if sharded:
        for block in net.blocks:
            fully_shard(block)
        fully_shard(net)
    return net, sorus.optim.AdamW(net.parameters(), lr=0.01)


def train(run, net, optimizer, steps, rank, clip=math.inf):
    losses = []
    for step in steps:
        sorus.manual_seed(1000 + step)
        x, y = sorus.randn(4 * 6, 6), sorus.randn(4 * 6, 5)
        part = slice(4 * rank, 4 * rank + 4)
        loss = nn.functional.mse_loss(run(x[part]), y[part])
        optimizer.zero_grad()
        loss.backward()
        total = nn.utils.clip_grad_norm_(net.parameters(), clip)
        optimizer.step()
        losses.append((loss.item(), float(total)))
    return losses


def check_types(rank):
    """Computing in bfloat16 is what one process does with the rounded weights; the rows stay as they are."""
    bf16, policy = sorus.bfloat16, MixedPrecisionPolicy(sorus.bfloat16, sorus.float32, output_dtype=sorus.float32)
    sorus.manual_seed(3)
    net, whole = Net(), Net()
    whole.load_state_dict(net.state_dict())
    whole.to(bf16)
    seen: list = []
    for block in net.blocks:
        fully_shard(block, mp_policy=MixedPrecisionPolicy(param_dtype=bf16, reduce_dtype=sorus.float32))
    fully_shard(net, mp_policy=policy)
    net.blocks[0].register_forward_hook(lambda m, i, o: seen.append((i[0].dtype, o.dtype)))
    assert isinstance(net, FSDPModule) and not isinstance(whole, FSDPModule)
    sorus.manual_seed(rank)
    x = sorus.randn(4, 6)
    y = net(x)
    assert seen == [(bf16, bf16)] and y.dtype == sorus.float32
    assert bool((y == whole(x.to(bf16)).float()).all())
    y.square().mean().backward()
    whole(x.to(bf16)).float().square().mean().backward()
    for (name, shard), p in zip(net.named_parameters(), whole.parameters()):
        assert shard.dtype == shard.grad.dtype == shard.full_tensor().dtype == sorus.float32, name
        assert bool((shard.full_tensor().to(bf16) == p).all()), name
        average = p.grad.float()
        dist.all_reduce(average, op=dist.ReduceOp.AVG)
        own = average[shard.start[0] : shard.start[0] + shard.shape[0]]
        assert bool(((shard.grad - own).abs() <= 1e-6 + 1e-5 * own.abs()).all()), name


def check(folder, phase):
    rank, ranks = dist.get_rank(), dist.get_world_size()
    if phase == "save":
        check_types(rank)
    net, optimizer = make(sharded=True)
    if phase == "save":
        plain, plain_optimizer = make(sharded=False)
        ddp = nn.parallel.DistributedDataParallel(plain)

        def rows(shard, whole):
            return whole.detach()[shard.start[0] : shard.start[0] + shard.shape[0]]

        a = train(net, net, optimizer, range(2), rank)
        b = train(ddp, plain, plain_optimizer, range(2), rank)
        assert [x[0] for x in a] == [x[0] for x in b], (a, b)
        assert all(abs(x[1] - y[1]) < 1e-5 * y[1] for x, y in zip(a, b)), (a, b)
        for shard, whole in zip(net.parameters(), plain.parameters()):
            assert bool((shard == rows(shard, whole)).all())
        a = train(net, net, optimizer, [2], rank, clip=0.1)
        b = train(ddp, plain, plain_optimizer, [2], rank, clip=0.1)
        assert abs(a[0][1] - b[0][1]) < 1e-5 * b[0][1] and b[0][1] > 0.1
        for (name, shard), whole in zip(net.named_parameters(), plain.parameters()):
            assert shard.shape[0] <= -(-whole.shape[0] // ranks), name
            assert bool(((shard - rows(shard, whole)).abs() <= 1e-6).all()), name
        model, optim = dcp.state_dict.get_state_dict(net, optimizer)
        dcp.save({"model": model, "optim": optim, "step": 3, "note": [1, "a", None]}, checkpoint_id=folder)
        dcp.save({"model": model, "optim": optim, "step": 3, "note": [1, "a", None]}, checkpoint_id=folder)  # again
    else:
        model, optim = dcp.state_dict.get_state_dict(net, optimizer)
        state: dict = {"model": model, "optim": optim, "step": 0, "note": []}
        dcp.load(state, checkpoint_id=folder)
        assert state["step"] == 3 and state["note"] == [1, "a", None]
        dcp.state_dict.set_state_dict(
            net, optimizer, model_state_dict=state["model"], optim_state_dict=state["optim"]
        )
        # One process: what follows is the same wherever the state came from.
        parts: list = [None] * ranks
        dist.all_gather_object(parts, [p.detach().numpy() for p in net.parameters()])
        moments: list = [None] * ranks
        dist.all_gather_object(moments, [optimizer.state_dict()["state"][i]["exp_avg"].numpy() for i in range(14)])
        if rank == 0:
            import numpy as np

            whole = [np.concatenate([part[i] for part in both]) for both in (parts, moments) for i in range(14)]
            np.savez(f"{folder}.{phase}.npz", *whole)
    dist.barrier()


if __name__ == "__main__":
    dist.init_process_group()
    check(*sys.argv[1:])
    dist.destroy_process_group()
