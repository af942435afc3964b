"""Ten more programs as their authors write them (see programs.py): models that are trained in ways of their own."""

# mypy: ignore-errors

import copy
import itertools
import math

from programs import fill, numbers, same


def case_diffusion(torch, step_of=same):
    """DDPM (Ho et al. 2020): noise is predicted; an average of the weights draws."""
    nn, F = torch.nn, torch.nn.functional

    class SinusoidalPosEmb(nn.Module):
        def __init__(self, dim):
            super().__init__()
            self.dim = dim

        def forward(self, t):
            half = self.dim // 2
            emb = torch.exp(torch.arange(half) * -(math.log(10000) / (half - 1)))
            emb = t[:, None].float() * emb[None, :]
            return torch.cat((emb.sin(), emb.cos()), dim=-1)

    class ResnetBlock(nn.Module):
        def __init__(self, dim, dim_out, time_dim):
            super().__init__()
            self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(time_dim, dim_out * 2))
            self.proj = nn.Conv2d(dim, dim_out, 3, padding=1)
            self.norm = nn.GroupNorm(2, dim_out)
            self.res_conv = nn.Conv2d(dim, dim_out, 1) if dim != dim_out else nn.Identity()

        def forward(self, x, t):
            scale, shift = self.mlp(t)[..., None, None].chunk(2, dim=1)
            h = F.silu(self.norm(self.proj(x)) * (scale + 1) + shift)
            return h + self.res_conv(x)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.time = nn.Sequential(SinusoidalPosEmb(8), nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 16))
            self.down, self.mid, self.up = ResnetBlock(1, 4, 16), ResnetBlock(4, 8, 16), ResnetBlock(12, 4, 16)
            self.to_qkv, self.out = nn.Conv2d(8, 24, 1, bias=False), nn.Conv2d(4, 1, 1)

        def forward(self, x, t):
            t = self.time(t)
            h1 = self.down(x, t)
            h = self.mid(F.avg_pool2d(h1, 2), t)
            b, c, w, _ = h.shape
            q, k, v = (z.reshape(b, 2, 4, -1).transpose(2, 3) for z in self.to_qkv(h).chunk(3, dim=1))
            h = h + F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(b, c, w, w)
            h = torch.cat((F.interpolate(h, scale_factor=2, mode="nearest"), h1), dim=1)
            return self.out(self.up(h, t))

    model = Net()
    fill(torch, model)
    ema = copy.deepcopy(model).requires_grad_(False).eval()
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: min(1.0, (s + 1) / 3))
    betas = torch.linspace(1e-4, 0.02, 50, dtype=torch.float64).float()
    alphas_cumprod = torch.cumprod(1.0 - betas, dim=0)

    def extract(a, t, shape):
        return a.gather(-1, t).reshape(t.shape[0], *((1,) * (len(shape) - 1)))

    @step_of
    def step(x0, t, noise):
        ac = extract(alphas_cumprod, t, x0.shape)
        x = ac.sqrt() * x0 + (1 - ac).sqrt() * noise
        loss = F.smooth_l1_loss(model(x, t), noise)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        return loss

    losses = []
    for i in range(3):
        t = torch.tensor([1, 20, 49])
        losses.append(step(numbers(torch, 3, 1, 8, 8, start=i), t, numbers(torch, 3, 1, 8, 8, start=i + 0.3)).item())
        sched.step()
        with torch.no_grad():
            for p, q in zip(ema.parameters(), model.parameters()):
                p.lerp_(q, 0.1)
    x = numbers(torch, 1, 1, 8, 8)
    with torch.inference_mode():
        for t in reversed(range(0, 50, 10)):
            ts = torch.full((1,), t, dtype=torch.long)
            mean = (x - betas[t] * ema(x, ts) / torch.sqrt(1 - alphas_cumprod[t])) / torch.sqrt(1 - betas[t])
            x = mean + torch.sqrt(betas[t]) * torch.sin(x)
    return [torch.tensor(losses), x.clone()]


def case_graph_attention(torch, step_of=same):
    """Messages along edges, taken together with scatter (Velickovic et al. 2018), then a readout by graph."""
    nn, F = torch.nn, torch.nn.functional

    def softmax_over_edges(e, dst, n):
        index = dst.unsqueeze(-1).expand_as(e)
        top = torch.full((n, e.size(1)), float("-inf")).scatter_reduce(0, index, e, reduce="amax", include_self=False)
        e = (e - top[dst]).exp()
        return e / (torch.zeros(n, e.size(1)).scatter_add_(0, index, e)[dst] + 1e-16)

    class GATConv(nn.Module):
        def __init__(self, d_in, d_out, heads):
            super().__init__()
            self.heads, self.d_out = heads, d_out
            self.lin = nn.Linear(d_in, heads * d_out, bias=False)
            self.att_src = nn.Parameter(torch.empty(1, heads, d_out))
            self.att_dst = nn.Parameter(torch.empty(1, heads, d_out))
            nn.init.xavier_uniform_(self.att_src)
            nn.init.xavier_uniform_(self.att_dst)
            self.bias = nn.Parameter(torch.zeros(heads * d_out))

        def forward(self, x, edges):
            src, dst = edges
            h = self.lin(x).view(-1, self.heads, self.d_out)
            a_src, a_dst = (h * self.att_src).sum(-1), (h * self.att_dst).sum(-1)
            alpha = softmax_over_edges(F.leaky_relu(a_src[src] + a_dst[dst], 0.2), dst, x.size(0))
            out = torch.zeros_like(h).index_add_(0, dst, h[src] * alpha.unsqueeze(-1))
            return out.flatten(1) + self.bias

    class GAT(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2, self.head = GATConv(5, 4, 2), GATConv(8, 6, 1), nn.Linear(6, 3)

        def forward(self, x, edges, batch, graphs):
            x = F.elu(self.conv1(x, edges))
            x = self.conv2(x, edges)
            count = torch.zeros(graphs, 1).index_add(0, batch, x.new_ones(x.size(0), 1)).clamp(min=1)
            pooled = torch.zeros(graphs, x.size(1)).index_add(0, batch, x) / count
            return F.log_softmax(self.head(pooled), dim=-1)

    model = GAT()
    fill(torch, model)
    opt = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)
    edges = torch.tensor([[0, 1, 1, 2, 3, 4, 4, 5, 6, 0, 5], [1, 0, 2, 1, 4, 3, 5, 4, 3, 2, 6]])
    loops = torch.arange(7).repeat(2, 1)
    edges, batch, y = torch.cat([edges, loops], dim=1), torch.tensor([0, 0, 0, 1, 1, 1, 1]), torch.tensor([2, 0])

    @step_of
    def step(x):
        opt.zero_grad()
        out = model(x, edges, batch, 2)
        loss = F.nll_loss(out, y)
        loss.backward()
        opt.step()
        return loss, (out.argmax(dim=1) == y).float().mean()

    found = [step(numbers(torch, 7, 5, start=i)) for i in range(4)]
    return [torch.stack([torch.stack(pair) for pair in found]).detach()]


def case_contrastive(torch, step_of=same):
    """Two views (Chen et al. 2020) and a queue of keys by a slowly moving network (He et al. 2020)."""
    nn, F = torch.nn, torch.nn.functional

    def encoder():
        return nn.Sequential(
            nn.Conv1d(2, 8, 3, padding="same", padding_mode="circular"), nn.BatchNorm1d(8), nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool1d(4), nn.Flatten(), nn.Linear(32, 16), nn.BatchNorm1d(16, affine=False),
        )  # fmt: skip

    class MoCo(nn.Module):
        def __init__(self, K=12, m=0.9, T=0.2):
            super().__init__()
            self.K, self.m, self.T = K, m, T
            self.encoder_q, self.encoder_k = encoder(), encoder()
            for p in self.encoder_k.parameters():
                p.requires_grad = False
            self.register_buffer("queue", F.normalize(numbers(torch, 16, K), dim=0))
            self.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.long))

        @torch.no_grad()
        def _momentum_update_key_encoder(self):
            for q, k in zip(self.encoder_q.parameters(), self.encoder_k.parameters()):
                k.data.mul_(self.m).add_(q.data, alpha=1.0 - self.m)

        @torch.no_grad()
        def _dequeue_and_enqueue(self, keys):
            ptr = int(self.queue_ptr)
            self.queue[:, ptr : ptr + keys.shape[0]] = keys.T
            self.queue_ptr[0] = (ptr + keys.shape[0]) % self.K

        def forward(self, im_q, im_k):
            q = F.normalize(self.encoder_q(im_q), dim=1)
            with torch.no_grad():
                self._momentum_update_key_encoder()
                k = F.normalize(self.encoder_k(im_k), dim=1)
            l_pos = torch.einsum("nc,nc->n", [q, k]).unsqueeze(-1)
            l_neg = torch.einsum("nc,ck->nk", [q, self.queue.clone().detach()])
            logits = torch.cat([l_pos, l_neg], dim=1) / self.T
            self._dequeue_and_enqueue(k)
            return logits, torch.zeros(logits.shape[0], dtype=torch.long), q

    def nt_xent(z1, z2, temperature=0.5):
        z = torch.cat([z1, z2])
        n = z.size(0)
        sim = F.cosine_similarity(z.unsqueeze(1), z.unsqueeze(0), dim=2) / temperature
        sim.masked_fill_(torch.eye(n, dtype=torch.bool), -9e15)
        target = torch.arange(n).roll(n // 2)
        return F.cross_entropy(sim, target, label_smoothing=0.1)

    model = MoCo()
    fill(torch, model)
    with torch.no_grad():
        model.queue.copy_(F.normalize(numbers(torch, 16, 12), dim=0))
    model.encoder_k.load_state_dict(model.encoder_q.state_dict())
    opt = torch.optim.SGD(model.encoder_q.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-4)
    criterion = nn.CrossEntropyLoss()
    losses = []
    for i in range(4):
        logits, labels, q = model(numbers(torch, 4, 2, 10, start=i), numbers(torch, 4, 2, 10, start=i + 0.2))
        loss = criterion(logits, labels) + nt_xent(q, model.encoder_q(numbers(torch, 4, 2, 10, start=i + 0.1)))
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())

    @step_of
    def by_pairs(a, b):
        opt.zero_grad()
        loss = nt_xent(model.encoder_q(a), model.encoder_q(b))
        loss.backward()
        opt.step()
        return loss

    losses += [by_pairs(numbers(torch, 4, 2, 10), numbers(torch, 4, 2, 10, start=1)).item() for _ in range(2)]
    return [torch.tensor(losses), model.queue, model.queue_ptr]


def case_lora(torch, step_of=same):
    """A frozen transformer with low-rank updates (Hu et al. 2021), recomputed blocks, and what is saved of it."""
    nn, F = torch.nn, torch.nn.functional
    from_utils = torch.utils.checkpoint.checkpoint

    class LoRALinear(nn.Module):
        def __init__(self, base, r=2, alpha=4):
            super().__init__()
            self.base, self.scaling = base, alpha / r
            self.lora_A = nn.Parameter(torch.zeros(r, base.in_features))
            self.lora_B = nn.Parameter(torch.zeros(base.out_features, r))
            nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

        def forward(self, x):
            return self.base(x) + (x @ self.lora_A.T @ self.lora_B.T) * self.scaling

    class Block(nn.Module):
        def __init__(self, d, h):
            super().__init__()
            self.h, self.norm1, self.norm2 = h, nn.LayerNorm(d), nn.RMSNorm(d)
            self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(d, d, bias=False) for _ in range(4))
            self.gate, self.up, self.down = nn.Linear(d, 2 * d), nn.Linear(d, 2 * d), nn.Linear(2 * d, d)

        def forward(self, x):
            B, T, C = x.shape
            y = self.norm1(x)
            q, k, v = (p(y).view(B, T, self.h, -1).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.o_proj(y.transpose(1, 2).contiguous().view(B, T, C))
            y = self.norm2(x)
            return x + self.down(F.silu(self.gate(y)) * self.up(y))

    class LM(nn.Module):
        def __init__(self):
            super().__init__()
            self.tok, self.pos = nn.Embedding(11, 8), nn.Embedding(6, 8)
            self.blocks = nn.ModuleList(Block(8, 2) for _ in range(2))
            self.head = nn.Linear(8, 11, bias=False)
            self.head.weight = self.tok.weight

        def forward(self, ids):
            x = self.tok(ids) + self.pos(torch.arange(ids.size(1), device=ids.device))
            for block in self.blocks:
                x = from_utils(block, x, use_reentrant=False)
            return self.head(x)

    model = LM()
    fill(torch, model)
    for p in model.parameters():
        p.requires_grad_(False)
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and name.endswith(("q_proj", "v_proj")):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, LoRALinear(module))
    with torch.no_grad():
        for i, (name, p) in enumerate(model.named_parameters()):
            if "lora_" in name:
                p.copy_(numbers(torch, *p.shape, start=i) * (0.3 if "A" in name else 0.0))
    trained = [p for p in model.parameters() if p.requires_grad]
    opt = torch.optim.AdamW([{"params": trained, "lr": 0.02}], betas=(0.9, 0.95))
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=4, eta_min=1e-3)

    @step_of
    def step(ids):
        opt.zero_grad()
        logits = model(ids[:, :-1])
        loss = F.cross_entropy(logits.reshape(-1, logits.size(-1)), ids[:, 1:].reshape(-1), ignore_index=0)
        loss.backward()
        opt.step()
        return loss

    losses = []
    for i in range(4):
        losses.append(step((torch.arange(14).reshape(2, 7) * (i + 3)) % 11).item())
        sched.step()
    state = {k: v for k, v in model.state_dict().items() if "lora_" in k}
    missing, unexpected = model.load_state_dict(state, strict=False)
    merged = model.blocks[0].q_proj
    weight = merged.base.weight + merged.lora_B @ merged.lora_A * merged.scaling
    return [torch.tensor(losses), torch.tensor([len(state), len(missing), len(unexpected)]), weight.detach()]


def case_meta_learning(torch, step_of=same):
    """MAML (Finn et al. 2017) with functional_call, grad and vmap over tasks."""
    nn, F = torch.nn, torch.nn.functional
    functional_call, grad, vmap = torch.func.functional_call, torch.func.grad, torch.func.vmap
    net = nn.Sequential(nn.Linear(1, 12), nn.Tanh(), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 1))
    fill(torch, net)
    params = dict(net.named_parameters())
    opt = torch.optim.Adam(net.parameters(), lr=1e-2)

    def mse(params, x, y):
        return F.mse_loss(functional_call(net, params, (x,)), y)

    def task_loss(params, x1, y1, x2, y2):
        for _ in range(2):
            grads = grad(mse)(params, x1, y1)
            params = {k: params[k] - 0.1 * g for k, g in grads.items()}
        return mse(params, x2, y2)

    @step_of
    def step(x1, y1, x2, y2):
        loss = vmap(task_loss, in_dims=(None, 0, 0, 0, 0))(params, x1, y1, x2, y2).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    losses = []
    for i in range(3):
        x1, x2 = numbers(torch, 4, 5, 1, start=i), numbers(torch, 4, 5, 1, start=i + 0.5)
        phase = torch.linspace(0, 1, 4).view(4, 1, 1)
        losses.append(step(x1, torch.sin(x1 + phase), x2, torch.sin(x2 + phase)).item())
    per_sample = vmap(grad(mse), in_dims=(None, 0, 0))(params, numbers(torch, 6, 1), numbers(torch, 6, 1, start=1))
    return [torch.tensor(losses), per_sample["4.weight"].detach(), per_sample["0.bias"].detach()]


def case_physics(torch, step_of=same):
    """A network that solves Burgers' equation by its derivatives (Raissi et al. 2019), with a function of its own."""
    nn = torch.nn

    class Sine(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(x)
            ctx.w = w
            return torch.sin(w * x)

        @staticmethod
        def backward(ctx, grad_output):
            (x,) = ctx.saved_tensors
            return grad_output * ctx.w * torch.cos(ctx.w * x), None

    class PINN(nn.Module):
        def __init__(self, layers=(2, 10, 10, 1)):
            super().__init__()
            self.linears = nn.ModuleList([nn.Linear(i, o) for i, o in itertools.pairwise(layers)])
            self.nu = nn.Parameter(torch.tensor(0.1))

        def forward(self, x, t):
            h = torch.cat([x, t], dim=1)
            for linear in self.linears[:-1]:
                h = Sine.apply(linear(h), 2.0)
            return self.linears[-1](h)

    net = PINN()
    fill(torch, net.linears)
    opt = torch.optim.Adam(net.parameters(), lr=5e-3)

    def derivative(y, x):
        return torch.autograd.grad(y, x, grad_outputs=torch.ones_like(y), create_graph=True)[0]

    @step_of
    def step(x, t, x0, u0):
        x, t = x.detach().requires_grad_(True), t.detach().requires_grad_(True)
        u = net(x, t)
        u_x = derivative(u, x)
        residual = derivative(u, t) + u * u_x - net.nu * derivative(u_x, x)
        loss = residual.square().mean() + (net(x0, torch.zeros_like(x0)) - u0).square().mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    x0 = torch.linspace(-1, 1, 8).unsqueeze(1)
    losses = [
        step(numbers(torch, 12, 1, start=i), numbers(torch, 12, 1, start=i + 0.5).abs(), x0, -torch.sin(math.pi * x0))
        for i in range(4)
    ]
    second = torch.optim.LBFGS(net.parameters(), lr=0.5, max_iter=4, line_search_fn="strong_wolfe")

    def closure():
        second.zero_grad()
        loss = (net(x0, torch.zeros_like(x0)) + torch.sin(math.pi * x0)).pow(2).mean()
        loss.backward()
        return loss

    losses.append(second.step(closure))
    return [torch.stack([loss.detach() for loss in losses]), net.nu.detach()]


def case_normalizing_flow(torch, step_of=same):
    """Coupling layers (Dinh et al. 2017) and their inverse, under a base distribution."""
    nn, D = torch.nn, torch.distributions

    class Coupling(nn.Module):
        def __init__(self, mask):
            super().__init__()
            self.register_buffer("mask", mask.clone())
            self.s = nn.Sequential(nn.Linear(4, 8), nn.LeakyReLU(), nn.Linear(8, 4), nn.Tanh())
            self.t = nn.Sequential(nn.Linear(4, 8), nn.LeakyReLU(), nn.Linear(8, 4))

        def forward(self, x):
            kept = x * self.mask
            s, t = self.s(kept) * (1 - self.mask), self.t(kept) * (1 - self.mask)
            return kept + (1 - self.mask) * (x * torch.exp(s) + t), s.sum(dim=1)

        def inverse(self, z):
            kept = z * self.mask
            s, t = self.s(kept) * (1 - self.mask), self.t(kept) * (1 - self.mask)
            return kept + (1 - self.mask) * (z - t) * torch.exp(-s)

    class ActNorm(nn.Module):
        def __init__(self, d):
            super().__init__()
            self.log_scale, self.shift = nn.Parameter(torch.zeros(d)), nn.Parameter(torch.zeros(d))
            self.W = nn.Parameter(torch.eye(d))

        def forward(self, x):
            log_det = self.log_scale.sum() + torch.linalg.slogdet(self.W)[1]
            return (x * self.log_scale.exp() + self.shift) @ self.W, log_det.expand(x.size(0))

        def inverse(self, z):
            return (torch.linalg.solve(self.W.T, z.T).T - self.shift) / self.log_scale.exp()

    mask = torch.tensor([1.0, 0.0, 1.0, 0.0])
    flow = nn.ModuleList([Coupling(mask), ActNorm(4), Coupling(1 - mask), ActNorm(4)])
    fill(torch, *(m for m in flow if isinstance(m, Coupling)))
    with torch.no_grad():
        flow[0].mask.copy_(mask), flow[2].mask.copy_(1 - mask)
    base = D.Independent(D.Normal(torch.zeros(4), torch.ones(4)), 1)
    opt = torch.optim.RAdam(flow.parameters(), lr=0.01)

    @step_of
    def step(x):
        log_det = torch.zeros(x.size(0))
        for layer in flow:
            x, ld = layer(x)
            log_det = log_det + ld
        loss = -(base.log_prob(x) + log_det).mean()
        opt.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_value_(flow.parameters(), 0.5)
        opt.step()
        return loss

    losses = torch.stack([step(numbers(torch, 9, 4, start=i) * 2).detach() for i in range(4)])
    x = z = numbers(torch, 3, 4)
    for layer in flow:
        z = layer(z)[0]
    for layer in reversed(flow):
        z = layer.inverse(z)
    assert torch.allclose(z, x, atol=1e-4)
    return [losses, z.detach()]


def case_q_learning(torch, step_of=same):
    """A dueling double DQN (Wang et al. 2016) with a replay buffer, a target network and n-step returns."""
    nn, F = torch.nn, torch.nn.functional
    from collections import deque, namedtuple

    Transition = namedtuple("Transition", ("state", "action", "next_state", "reward"))

    class DQN(nn.Module):
        def __init__(self, n_obs, n_actions):
            super().__init__()
            self.feature = nn.Sequential(nn.Linear(n_obs, 16), nn.Mish())
            self.value, self.advantage = nn.Linear(16, 1), nn.Linear(16, n_actions)

        def forward(self, x):
            x = self.feature(x)
            a = self.advantage(x)
            return self.value(x) + a - a.mean(dim=1, keepdim=True)

    policy_net, target_net = DQN(4, 3), DQN(4, 3)
    fill(torch, policy_net)
    target_net.load_state_dict(policy_net.state_dict())
    optimizer = torch.optim.AdamW(policy_net.parameters(), lr=1e-2, amsgrad=True)
    memory = deque(maxlen=10)
    for i in range(12):
        state = numbers(torch, 1, 4, start=i)
        with torch.no_grad():
            action = policy_net(state).max(1).indices.view(1, 1)
        after = None if i % 4 == 3 else numbers(torch, 1, 4, start=i + 1)
        memory.append(Transition(state, action, after, torch.tensor([float(i % 3) - 1])))
    losses = []
    for i in range(3):
        batch = Transition(*zip(*[memory[(j * 3 + i) % len(memory)] for j in range(6)]))
        non_final_mask = torch.tensor(tuple(s is not None for s in batch.next_state), dtype=torch.bool)
        non_final_next_states = torch.cat([s for s in batch.next_state if s is not None])
        states, actions, rewards = torch.cat(batch.state), torch.cat(batch.action), torch.cat(batch.reward)
        q = policy_net(states).gather(1, actions)
        next_values = torch.zeros(6)
        with torch.no_grad():
            best = policy_net(non_final_next_states).argmax(1, keepdim=True)
            next_values[non_final_mask] = target_net(non_final_next_states).gather(1, best).squeeze(1)
        expected = (next_values * 0.99) + rewards
        loss = nn.SmoothL1Loss(beta=0.5)(q, expected.unsqueeze(1))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_value_(policy_net.parameters(), 100)
        optimizer.step()
        target_sd, policy_sd = target_net.state_dict(), policy_net.state_dict()
        for key in policy_sd:
            target_sd[key] = policy_sd[key] * 0.1 + target_sd[key] * 0.9
        target_net.load_state_dict(target_sd)
        losses.append(loss.item())

    @step_of
    def soft(states, actions, targets):
        loss = F.huber_loss(policy_net(states).gather(1, actions), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    losses += [soft(states, actions, expected.unsqueeze(1)).item() for _ in range(2)]
    return [torch.tensor(losses), target_net.value.weight.detach()]


def case_mixture_of_experts(torch, step_of=same):
    """A vision transformer whose feed-forward layers are experts, routed by the best two (Shazeer et al. 2017)."""
    nn, F = torch.nn, torch.nn.functional

    class MoE(nn.Module):
        def __init__(self, d, n, k=2):
            super().__init__()
            self.k, self.router = k, nn.Linear(d, n, bias=False)
            self.w1, self.w2 = nn.Parameter(torch.zeros(n, d, 2 * d)), nn.Parameter(torch.zeros(n, 2 * d, d))

        def forward(self, x):
            shape = x.shape
            x = x.flatten(0, 1)
            probs = self.router(x).softmax(-1)
            top, index = probs.topk(self.k, dim=-1)
            top = top / top.sum(-1, keepdim=True)
            gates = torch.zeros_like(probs).scatter(1, index, top)
            h = F.gelu(torch.einsum("td,ndh->nth", x, self.w1), approximate="tanh")
            y = torch.einsum("nth,nhd->ntd", h, self.w2)
            y = torch.einsum("ntd,tn->td", y, gates)
            load = F.one_hot(index[:, 0], probs.size(1)).float().mean(0)
            return y.view(shape), probs.size(1) * (load * probs.mean(0)).sum()

    class Layer(nn.Module):
        def __init__(self, d, heads):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(d, eps=1e-6), nn.LayerNorm(d, eps=1e-6)
            self.attn, self.moe = nn.MultiheadAttention(d, heads, batch_first=True), MoE(d, 4)
            self.gamma = nn.Parameter(torch.full((d,), 0.1))

        def forward(self, x):
            y = self.norm1(x)
            x = x + self.gamma * self.attn(y, y, y, need_weights=False)[0]
            y, aux = self.moe(self.norm2(x))
            return x + y, aux

    class ViT(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch = nn.Conv2d(3, 8, kernel_size=4, stride=4)
            self.cls = nn.Parameter(torch.zeros(1, 1, 8))
            self.pos_embed = nn.Parameter(torch.zeros(1, 5, 8))
            self.layers = nn.ModuleList([Layer(8, 2) for _ in range(2)])
            self.head = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 5))

        def forward(self, x):
            x = self.patch(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], dim=1) + self.pos_embed
            aux = 0.0
            for layer in self.layers:
                x, a = layer(x)
                aux = aux + a
            return self.head(x[:, 0]), aux

    model = ViT()
    fill(torch, model)
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    opt = torch.optim.AdamW([{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}], lr=5e-3)
    sched = torch.optim.lr_scheduler.SequentialLR(
        opt,
        [
            torch.optim.lr_scheduler.LinearLR(opt, 0.25, total_iters=2),
            torch.optim.lr_scheduler.CosineAnnealingLR(opt, 4),
        ],
        milestones=[2],
    )

    @step_of
    def step(x, target, lam):
        x = lam * x + (1 - lam) * x.flip(0)
        logits, aux = model(x)
        target = F.one_hot(target, 5).float()
        target = lam * target + (1 - lam) * target.flip(0)
        loss = F.cross_entropy(logits, target) + 0.01 * aux
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    losses = []
    for i in range(4):
        losses.append(step(numbers(torch, 4, 3, 8, 8, start=i), torch.tensor([0, 3, 2, 4]), torch.tensor(0.7)).item())
        sched.step()
    return [torch.tensor(losses), torch.tensor([g["lr"] for g in opt.param_groups])]


def case_radiance_field(torch, step_of=same):
    """NeRF (Mildenhall et al. 2020): rays through a volume, drawn finer where the coarse pass found something."""
    nn, F = torch.nn, torch.nn.functional

    def positional_encoding(x, L):
        freqs = 2.0 ** torch.arange(L)
        angles = x[..., None] * freqs * math.pi
        return torch.cat([x, torch.sin(angles).flatten(-2), torch.cos(angles).flatten(-2)], dim=-1)

    class NeRF(nn.Module):
        def __init__(self, L=2, w=12):
            super().__init__()
            self.L, d = L, 3 + 6 * L
            self.l1, self.l2 = nn.Linear(d, w), nn.Linear(w + d, w)
            self.sigma, self.rgb = (
                nn.Linear(w, 1),
                nn.Sequential(nn.Linear(w + 3, 6), nn.ReLU(), nn.Linear(6, 3), nn.Sigmoid()),
            )

        def forward(self, x, d):
            e = positional_encoding(x, self.L)
            h = F.relu(self.l2(torch.cat([F.relu(self.l1(e)), e], dim=-1)))
            return self.rgb(torch.cat([h, d.expand_as(x)], -1)), F.softplus(self.sigma(h) - 1).squeeze(-1)

    def render(net, o, d, z):
        rgb, sigma = net(o[:, None] + d[:, None] * z[..., None], d[:, None])
        delta = torch.cat([z[:, 1:] - z[:, :-1], torch.full_like(z[:, :1], 1e10)], dim=-1) * d.norm(
            dim=-1, keepdim=True
        )
        alpha = 1 - torch.exp(-sigma * delta)
        T = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha + 1e-10], dim=-1), dim=-1)[:, :-1]
        w = alpha * T
        return (w[..., None] * rgb).sum(dim=1), w

    def sample_pdf(bins, weights, n):
        pdf = (weights + 1e-5) / torch.sum(weights + 1e-5, -1, keepdim=True)
        cdf = torch.cat([torch.zeros_like(pdf[..., :1]), torch.cumsum(pdf, -1)], -1)
        u = torch.linspace(0.05, 0.95, n).expand(cdf.shape[0], n).contiguous()
        inds = torch.searchsorted(cdf.detach(), u, right=True)
        below, above = torch.clamp(inds - 1, min=0), torch.clamp(inds, max=cdf.shape[-1] - 1)
        inds_g = torch.stack([below, above], -1)
        matched = (inds_g.shape[0], inds_g.shape[1], cdf.shape[-1])
        cdf_g = torch.gather(cdf.unsqueeze(1).expand(matched), 2, inds_g)
        bins_g = torch.gather(bins.unsqueeze(1).expand(matched), 2, inds_g)
        denom = cdf_g[..., 1] - cdf_g[..., 0]
        denom = torch.where(denom < 1e-5, torch.ones_like(denom), denom)
        return bins_g[..., 0] + (u - cdf_g[..., 0]) / denom * (bins_g[..., 1] - bins_g[..., 0])

    coarse, fine = NeRF(), NeRF()
    fill(torch, coarse, fine)
    opt = torch.optim.NAdam([*coarse.parameters(), *fine.parameters()], lr=5e-3)
    sched = torch.optim.lr_scheduler.ExponentialLR(opt, gamma=0.9)

    @step_of
    def step(o, d, target):
        z = torch.linspace(0.5, 2.0, 6).expand(o.shape[0], 6)
        rgb, w = render(coarse, o, d, z)
        mid = 0.5 * (z[:, 1:] + z[:, :-1])
        z_fine = sample_pdf(mid, w[:, 1:-1].detach(), 5)
        z_all, _ = torch.sort(torch.cat([z, z_fine.detach()], -1), -1)
        rgb_fine, _ = render(fine, o, d, z_all)
        loss = F.mse_loss(rgb, target) + F.mse_loss(rgb_fine, target)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss, -10 * torch.log10(loss)

    found = []
    for i in range(3):
        o, d = numbers(torch, 5, 3, start=i) * 0.1, F.normalize(numbers(torch, 5, 3, start=i + 0.4), dim=-1)
        found.append(torch.stack(step(o, d, numbers(torch, 5, 3, start=2 * i).abs())).detach())
        sched.step()
    return [torch.stack(found)]
