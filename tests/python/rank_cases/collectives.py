"""Every function of sorus.distributed, at each rank; runs under PyTorch as well (`torchrun collectives.py torch`)."""

import sys


def check(torch, dist):
    rank, size = dist.get_rank(), dist.get_world_size()

    def mine(r, n=5):
        return torch.arange(n, dtype=torch.float32) * 2 + r

    every = [mine(r) for r in range(size)]
    total = sum(every[1:], every[0])

    def same(a, b):
        assert a.shape == b.shape and bool((a == b).all()), (a, b)

    t = mine(rank)
    dist.all_reduce(t)
    same(t, total)
    t = mine(rank)
    work = dist.all_reduce(t, op=dist.ReduceOp.MAX, async_op=True)
    work.wait()
    same(t, every[-1])
    t = mine(rank, 6).reshape(2, 3).t()  # not contiguous
    dist.all_reduce(t)
    same(t, sum([mine(r, 6) for r in range(1, size)], mine(0, 6)).reshape(2, 3).t())
    t = torch.tensor([rank + 1])
    dist.all_reduce(t, dist.ReduceOp.PRODUCT)
    assert int(t) == [1, 1, 2, 6, 24][size]
    t = mine(rank)
    dist.reduce(t, 1)
    if rank == 1:
        same(t, total)
    t = mine(rank)
    dist.broadcast(t, 1)
    same(t, every[1])
    out = [torch.zeros(5) for _ in range(size)]
    dist.all_gather(out, mine(rank))
    for a, b in zip(out, every):
        same(a, b)
    out = torch.zeros(size * 5)
    dist.all_gather_into_tensor(out, mine(rank))
    same(out, torch.cat(every))
    out = torch.zeros(5)
    dist.reduce_scatter(out, [mine(rank) + r for r in range(size)])
    same(out, total + rank * size)
    out = torch.zeros(5)
    dist.reduce_scatter_tensor(out, torch.cat([mine(rank) + r for r in range(size)]))
    same(out, total + rank * size)
    out = [torch.zeros(5) for _ in range(size)]
    dist.all_to_all(out, [mine(rank * 10 + r) for r in range(size)])
    for r, a in enumerate(out):
        same(a, mine(r * 10 + rank))
    send = [r + 1 for r in range(size)]
    out = torch.zeros(size * (rank + 1))
    dist.all_to_all_single(out, torch.full((sum(send),), float(rank)), [rank + 1] * size, send)
    same(out, torch.cat([torch.full((rank + 1,), float(r)) for r in range(size)]))
    t = torch.zeros(5)
    dist.scatter(t, every if rank == 0 else None, src=0)
    same(t, every[rank])
    gathered = [torch.zeros(5) for _ in range(size)] if rank == 1 else None
    dist.gather(mine(rank), gathered, dst=1)
    if gathered:
        for a, b in zip(gathered, every):
            same(a, b)

    following, before = (rank + 1) % size, (rank - 1) % size
    got = torch.zeros(5)
    ops = [dist.P2POp(dist.isend, mine(rank), following), dist.P2POp(dist.irecv, got, before)]
    for work in dist.batch_isend_irecv(ops):
        work.wait()
    same(got, every[before])
    if rank == 0:
        dist.send(mine(7), 1)
    elif rank == 1:
        assert dist.recv(got, 0) == 0
        same(got, mine(7))

    values: list = [None] * size
    dist.all_gather_object(values, {"rank": rank, "text": "x" * rank})
    assert values == [{"rank": r, "text": "x" * r} for r in range(size)]
    values = [rank, "a"] if rank == 1 else [None, None]
    dist.broadcast_object_list(values, 1)
    assert values == [1, "a"]
    one = [None]
    dist.scatter_object_list(one, [10, 11, 12, 13][:size] if rank == 0 else [None] * size, src=0)
    assert one == [10 + rank]

    pair = dist.new_group([0, 1])
    if rank < 2:
        assert dist.get_world_size(pair) == 2 and dist.get_process_group_ranks(pair) == [0, 1]
        t = mine(rank)
        dist.all_reduce(t, group=pair)
        same(t, every[0] + every[1])
        dist.broadcast(t, 1, group=pair)
    else:
        assert dist.get_rank(pair) == -1
    dist.barrier()


if __name__ == "__main__":
    if "torch" in sys.argv:
        import torch
        import torch.distributed as dist
    else:
        import sorus.distributed as dist

        import sorus as torch
    dist.init_process_group("gloo")
    check(torch, dist)
    dist.destroy_process_group()
    print("fine")
