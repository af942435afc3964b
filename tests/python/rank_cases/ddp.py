"""DistributedDataParallel at each rank equals one process on the whole batch."""

import contextlib


def model(torch, seed=0):
    torch.manual_seed(seed)
    nn = torch.nn
    return nn.Sequential(
        nn.Linear(6, 40), nn.BatchNorm1d(40), nn.Tanh(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 3)
    )


def data(torch, step, rank, ranks, n=8):
    torch.manual_seed(100 + step)
    x, y = torch.randn(n * ranks, 6), torch.randn(n * ranks, 3)
    return (x, y) if rank is None else (x[rank * n : (rank + 1) * n], y[rank * n : (rank + 1) * n])


def close(a, b, tolerance=1e-5):
    return bool(((a - b).abs() <= tolerance * (1 + b.abs())).all())


ALONE = contextlib.nullcontext()


def check(torch, dist, lock=ALONE):
    """`lock`: the random numbers of ranks that are threads are shared."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    nn = torch.nn
    with lock:
        net, alone = model(torch, seed=rank), model(torch)  # rank 0's go to all
        batches = [(data(torch, s, rank, ranks), data(torch, s, None, ranks)) for s in range(4)]
    net[1] = nn.Identity()  # statistics of a batch are those of the rank
    alone[1] = nn.Identity()
    ddp = nn.parallel.DistributedDataParallel(net, bucket_cap_mb=0.005)
    for a, b in zip(net.parameters(), alone.parameters()):
        assert bool((a == b).all())
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9) for m in (net, alone)]
    for mine, whole in batches:
        for m, (x, y), optimizer in ((ddp, mine, optimizers[0]), (alone, whole, optimizers[1])):
            optimizer.zero_grad()
            nn.functional.mse_loss(m(x), y).backward()
        for a, b in zip(net.parameters(), alone.parameters()):
            assert close(a.grad, b.grad), (a.grad - b.grad).abs().max()
        for optimizer in optimizers:
            optimizer.step()
    if hasattr(ddp, "reducer") and hasattr(ddp.reducer, "started_early"):
        assert len(ddp.reducer.bucket_sizes) > 1
        assert ddp.reducer.started_early == len(ddp.reducer.bucket_sizes)

    # Two halves without and with reduction are the whole.
    net.zero_grad()
    (x, y), _ = batches[0]
    with ddp.no_sync():
        (nn.functional.mse_loss(ddp(x[:4]), y[:4]) / 2).backward()
    (nn.functional.mse_loss(ddp(x[4:]), y[4:]) / 2).backward()
    twice = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    nn.functional.mse_loss(ddp(x), y).backward()
    for a, p in zip(twice, net.parameters()):
        assert close(a, p.grad)

    # A part that only one rank uses.
    class Branches(nn.Module):  # type: ignore[name-defined]
        def __init__(self):
            super().__init__()
            self.a, self.b, self.never = nn.Linear(3, 2), nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x, second):
            return self.b(x) if second else self.a(x)

    with lock:
        torch.manual_seed(5)
        branches = Branches()
    wrapped = nn.parallel.DistributedDataParallel(branches, find_unused_parameters=True)
    for _ in range(2):
        branches.zero_grad()
        wrapped(torch.ones(4, 3), rank == 1).sum().backward()
        assert close(branches.b.bias.grad, torch.full((2,), 4.0 / ranks))
        assert close(branches.a.bias.grad, torch.full((2,), 4.0 * (ranks - 1) / ranks))
        assert branches.never.weight.grad is None

    # Buffers are rank 0's.
    with lock:
        torch.manual_seed(rank)
        norm = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 1))
        x = torch.randn(16, 4)
    wrapped = nn.parallel.DistributedDataParallel(norm, gradient_as_bucket_view=True)
    wrapped(x).sum().backward()
    wrapped(x).sum().backward()
    means = [torch.zeros(4) for _ in range(ranks)]
    wrapped.eval()
    dist.broadcast(norm[0].running_mean, 0)
    dist.all_gather(means, norm[0].running_mean)
    assert all(bool((m == means[0]).all()) for m in means)


if __name__ == "__main__":
    import sys

    if "torch" in sys.argv:
        import torch
        import torch.distributed as dist
    else:
        import sorus.distributed as dist

        import sorus as torch
    dist.init_process_group("gloo")
    check(torch, dist)
    dist.destroy_process_group()
