"""Functions of tensors as tutorials call them: values, and gradients where there are any; see peers.py."""

import math


def numbers(torch, *shape, start=0.0):
    n = math.prod(shape)
    return torch.sin(torch.arange(n, dtype=torch.float64) * 0.7 + start).reshape(shape)


def with_gradients(torch, f, *given):
    inputs = [x.clone().requires_grad_(True) if x.is_floating_point() else x for x in given]
    out = f(*inputs)
    outs = list(out if isinstance(out, (tuple, list)) else [out])
    loss = sum((o * numbers(torch, *o.shape, start=k)).sum() for k, o in enumerate(outs) if o.is_floating_point())
    loss.backward()
    return {"out": outs, "grads": [x.grad for x in inputs if x.is_floating_point()]}


def case_triangles_and_turns(torch):
    x = numbers(torch, 3, 4)
    return [
        with_gradients(torch, f, x)
        for f in (
            lambda t: torch.tril(t, -1),
            lambda t: t.triu(1),
            lambda t: t.flip(0, 1),
            lambda t: t.roll(1, 0),
            lambda t: torch.roll(t, 3),
            lambda t: torch.movedim(t, 0, 1),
            lambda t: t.repeat(2, 1, 2),
            lambda t: t.repeat_interleave(2, dim=1),
            lambda t: torch.tile(t, (2,)),
            lambda t: torch.diag(t[0]),
            lambda t: torch.diag(t, 1),
            lambda t: t.trace(),
            lambda t: torch.rot90(t) if False else torch.fliplr(t),
            lambda t: t.unfold(1, 2, 1),
            lambda t: torch.diag_embed(t, 1),
        )
    ]


def case_grids_and_joins(torch):
    x, y = numbers(torch, 3), numbers(torch, 2, start=1)
    m = numbers(torch, 2, 3)
    return [
        torch.meshgrid(x, y, indexing="ij"),
        torch.meshgrid(x, y, indexing="xy"),
        torch.cartesian_prod(x, y),
        torch.combinations(x),
        torch.hstack([x, y]),
        torch.vstack([x, m]),
        torch.column_stack([y, m]),
        torch.atleast_2d(x),
        torch.tensor_split(x, 2),
        torch.hsplit(m, 3),
        torch.broadcast_tensors(x, m),
        torch.tril_indices(3, 4),
        torch.triu_indices(3, 3, 1),
        torch.cat([torch.zeros(0), torch.ones(2, 3)]),
        torch.linspace(-1, 2, 7),
        torch.linspace(0, 9, 4, dtype=torch.int64),
        torch.logspace(0, 2, 3),
        torch.eye(2, 3),
    ]


def case_order(torch):
    x = numbers(torch, 4, 5)
    i = torch.tensor([[3, 1, 3], [2, 1, 1]])
    return [
        with_gradients(torch, f, x)
        for f in (
            lambda t: t.sort(1)[0],
            lambda t: torch.sort(t, descending=True)[0],
            lambda t: t.topk(2)[0],
            lambda t: t.kthvalue(2, 0)[0],
            lambda t: t.median(1)[0],
            lambda t: t.median(),
            lambda t: t.cumsum(0),
            lambda t: torch.cummax(t, 1)[0],
            lambda t: t.diff(),
            lambda t: torch.quantile(t, 0.3, dim=1),
            lambda t: t.quantile(torch.tensor([0.2, 0.9], dtype=t.dtype)),
        )
    ] + [
        torch.unique(i),
        torch.unique(i, return_inverse=True, return_counts=True),
        torch.unique(i, dim=1),
        torch.unique_consecutive(i[0]),
        torch.argsort(x, 0),
        torch.bincount(i.flatten()),
        torch.histc(x, 4),
        torch.searchsorted(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0.0, 3.0, 9.0]), right=True),
        torch.bucketize(torch.tensor([0.0, 3.0]), torch.tensor([1.0, 3.0])),
        torch.isin(i, torch.tensor([1, 2])),
    ]


def case_places(torch):
    x = numbers(torch, 4, 5)
    i = torch.tensor([[0, 2, 4], [1, 1, 3]])
    s = numbers(torch, 2, 3, start=2)
    return [
        with_gradients(torch, lambda t, u: t.scatter(1, torch.tensor([[0, 2, 4], [1, 0, 3]]), u), x, s),
        with_gradients(torch, lambda t: t.scatter(1, i, 0.5), x),
        with_gradients(torch, lambda t: t.gather(1, i), x),
        with_gradients(
            torch, lambda t, u: t.index_add(0, torch.tensor([1, 1]), u[:, [0, 1, 2, 0, 1]], alpha=2), x, s
        ),
        with_gradients(torch, lambda t: t.index_fill(1, torch.tensor([0, 3]), 0.25), x),
        with_gradients(torch, lambda t: t.index_select(0, torch.tensor([3, 0, 3])), x),
        with_gradients(
            torch,
            lambda t, u: t.index_put((torch.tensor([0, 0]), torch.tensor([1, 1])), u[:, 0], accumulate=True),
            x,
            s,
        ),
        with_gradients(torch, lambda t: t.take_along_dim(t.argsort(1), 1), x),
        torch.nonzero(x > 0.5),
        torch.nonzero(x > 0.5, as_tuple=True),
        torch.where(x > 0.5),
        torch.zeros(2, 3).scatter_(1, torch.tensor([[0], [2]]), 1.0),
        torch.argwhere(x > 0.9),
    ]


def case_elements(torch):
    x, y = numbers(torch, 3, 4), numbers(torch, 4, start=3)
    return [
        with_gradients(torch, f, x, y)
        for f in (
            lambda a, b: torch.clamp(a, b - 0.3, b + 0.2),
            lambda a, b: a.clamp(min=b),
            lambda a, b: torch.div(a, b, rounding_mode="floor"),
            lambda a, b: torch.div(a, b, rounding_mode="trunc"),
            torch.logaddexp,
            torch.hypot,
            torch.copysign,
            lambda a, b: torch.xlogy(a, b.abs() + 0.1),
            lambda a, b: torch.round(a, decimals=1) + b,
            lambda a, b: torch.sinc(a) * b.frac(),
        )
    ] + [
        torch.nan_to_num(torch.tensor([float("nan"), float("inf"), -float("inf"), 1.0])),
        ~torch.tensor([1, 2]),
        ~torch.tensor([True]),
        torch.tensor([5]) << 2,
        torch.isclose(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.1])),
        torch.count_nonzero(x > 0),
        torch.nansum(torch.tensor([1.0, float("nan")])),
        torch.var_mean(x, 1),
        torch.aminmax(x),
        torch.tensordot(x, x, [[0, 1], [0, 1]]),
        torch.cross(x[:, :3], x[:, 1:], dim=1),
        torch.inner(x, x),
        torch.kron(y, y),
        torch.addmv(y[:3], x, y),
        torch.cosine_similarity(x[None], x[:, None], dim=-2),
    ]


def case_images(torch):
    f = torch.nn.functional
    x = numbers(torch, 2, 4, 5, 6)
    return [
        with_gradients(torch, g, x)
        for g in (
            lambda t: f.interpolate(t, scale_factor=2),
            lambda t: f.interpolate(t, size=(3, 9), mode="bilinear"),
            lambda t: f.interpolate(t, size=(7, 4), mode="bilinear", align_corners=True),
            lambda t: f.interpolate(t, scale_factor=1.5, mode="bicubic"),
            lambda t: f.interpolate(t, size=(2, 9), mode="bilinear", antialias=True),
            lambda t: f.interpolate(t, scale_factor=(0.6, 0.4), mode="bicubic", antialias=True),
            lambda t: f.interpolate(t, size=(3, 2), mode="bilinear", antialias=True, align_corners=True),
            lambda t: f.interpolate(t, size=4, mode="area"),
            lambda t: f.interpolate(t, size=4, mode="nearest-exact"),
            lambda t: f.pixel_shuffle(t, 2),
            lambda t: f.pixel_unshuffle(t[:, :, :4], 2),
            lambda t: f.unfold(t, 3, padding=1),
            lambda t: f.fold(f.unfold(t, 2), (5, 6), 2),
            lambda t: f.adaptive_max_pool2d(t, (2, 4)),
            lambda t: f.adaptive_avg_pool2d(t, (None, 2)),
            lambda t: f.max_pool2d(t, 2, return_indices=True),
            lambda t: f.instance_norm(t),
            lambda t: f.local_response_norm(t, 3),
            lambda t: f.lp_pool2d(t.abs(), 2, 2),
            lambda t: f.pad(t, (-1, 4, 0, 0), "replicate"),
        )
    ]


def case_autograd(torch):
    class Cube(torch.autograd.Function):  # type: ignore[name-defined]
        @staticmethod
        def forward(x):
            return x * x * x

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return grad * 3 * x * x

    x = numbers(torch, 3).requires_grad_()
    y = Cube.apply(x)
    y.retain_grad()
    (y * y).sum().backward()
    seen = []
    layer = torch.nn.Linear(2, 2).double()
    with torch.no_grad():
        for i, p in enumerate(layer.parameters()):
            p.copy_(numbers(torch, *p.shape, start=i))

    def doubled(module, inputs, outputs):
        seen.extend([inputs[0], outputs[0]])
        return (inputs[0] * 2,)

    layer.register_full_backward_hook(doubled)
    z = numbers(torch, 1, 2).requires_grad_()
    layer(z).sum().backward()
    from_functional = __import__(torch.__name__ + ".autograd.functional", fromlist=["jacobian"])
    v = numbers(torch, 2)
    return [
        x.grad,
        y.grad,
        seen,
        z.grad,
        from_functional.jacobian(lambda t: t**2, v),
        from_functional.hessian(lambda t: (t**3).sum(), v),
        torch.autograd.gradcheck(Cube.apply, (numbers(torch, 2).requires_grad_(),)),
    ]


def case_distributions(torch):
    d = __import__(torch.__name__ + ".distributions", fromlist=["Normal"])
    p, v = numbers(torch, 2, 3).abs() + 0.1, numbers(torch, 2, 3, start=1)
    c, n = d.Categorical(p), d.Normal(v, p)
    return [
        c.log_prob(torch.tensor([2, 0])),
        c.entropy(),
        d.Categorical(logits=v).probs,
        n.log_prob(p),
        n.entropy(),
        d.kl_divergence(n, d.Normal(p, p * 2)),
        d.kl_divergence(c, d.Categorical(logits=v)),
        d.Independent(n, 1).log_prob(p),
        d.Bernoulli(p / 2).log_prob(torch.ones(2, 3, dtype=p.dtype)),
        d.Bernoulli(logits=v).entropy(),
        d.Exponential(p).log_prob(p),
        d.Uniform(v, v + 1).log_prob(v + 0.5),
        d.Laplace(v, p).log_prob(p),
    ]


def case_autocast_types(torch):
    f = torch.nn.functional
    out: dict = {}
    a = torch.ones(4, 4)
    for low in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=low):
            c = a @ a
            made = {
                "matmul": c,
                "add": c + a,
                "softmax": c.softmax(-1),
                "sum": c.sum(),
                "linear": f.linear(a, a),
                "mse": f.mse_loss(c, c),
                "cross_entropy": f.cross_entropy(c, torch.zeros(4, dtype=torch.long)),
                "layer_norm": f.layer_norm(c, (4,)),
                "conv2d": f.conv2d(a[None, None], a[None, None, :2, :2]),
                "einsum": torch.einsum("ij,jk->ik", a, a),
                "prod": c.prod(),
                "outer": torch.outer(a[0], a[0]),
                "dot": torch.dot(a[0], a[0]),
                "mv": torch.mv(a, a[0]),
                "l1": f.l1_loss(c, c),
                "bce": f.binary_cross_entropy_with_logits(c, c),
                "attention": f.scaled_dot_product_attention(a[None, None], a[None, None], a[None, None]),
                "double": a.double() @ a.double(),
                "log_softmax": c.log_softmax(-1),
                "gelu": f.gelu(c),
                "addmm": torch.addmm(a, a, a),
            }
            out[str(low).split(".")[-1]] = {k: str(v.dtype).split(".")[-1] for k, v in made.items()}
            with torch.autocast("cpu", enabled=False):
                out[f"off in {low}".split("torch.")[-1].split("sorus.")[-1]] = str((a @ a).dtype).split(".")[-1]
    return out


def case_grad_scaler(torch):
    w = numbers(torch, 3, 2).float().requires_grad_()
    x, y = numbers(torch, 5, 3, start=1).float(), numbers(torch, 5, 2, start=2).float()
    optimizer = torch.optim.Adam([w], lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**15, growth_interval=2)
    seen = []
    for step in range(6):
        optimizer.zero_grad()
        loss = ((x @ w - y) ** 2).mean() * (1e38 if step == 3 else 1.0)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_([w], 0.5)
        scaler.step(optimizer)
        scaler.update()
        seen.append([w.detach().clone(), torch.tensor(scaler.get_scale())])
    return [seen, {k: torch.tensor(float(v)) for k, v in scaler.state_dict().items()}]


def case_pairs_as_complex_numbers(torch):
    pairs = numbers(torch, 3, 4, 2)
    turned = torch.view_as_complex(pairs) * torch.polar(numbers(torch, 4).abs(), numbers(torch, 4, start=2))
    return [
        torch.view_as_real(turned),
        torch.view_as_real(numbers(torch, 3).to(torch.complex64)),
        with_gradients(torch, lambda x: torch.view_as_real(torch.view_as_complex(x) ** 2), pairs),
    ]


def case_fractional_pooling(torch):
    pool2, pool3 = torch.nn.functional.fractional_max_pool2d, torch.nn.functional.fractional_max_pool3d
    x, draws = numbers(torch, 2, 3, 7, 9), numbers(torch, 2, 3, 2).abs()
    volume, draws3 = numbers(torch, 1, 2, 5, 6, 7), numbers(torch, 1, 2, 3).abs()
    return [
        pool2(x, 2, (4, 5), _random_samples=draws, return_indices=True),
        pool2(x[0], (3, 2), output_ratio=(0.5, 0.6), _random_samples=draws[:1]),
        with_gradients(torch, lambda t: pool2(t, 3, (1, 4), _random_samples=draws), x),
        pool3(volume, 2, (3, 3, 4), _random_samples=draws3, return_indices=True),
        with_gradients(torch, lambda t: pool3(t, (1, 2, 3), output_ratio=0.5, _random_samples=draws3), volume),
    ]


def case_parts_of_numbers(torch):
    x, out = numbers(torch, 12) * 5, {}
    special = torch.tensor([0.0, -0.0, 1.0, -1.0, 2.0, 0.5, math.inf, -math.inf, math.nan, 3.0, 1e30, -7.0])
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        a, b = special.to(dtype), x.to(dtype)
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        out[str(dtype).split(".")[-1]] = [
            torch.nextafter(p, q).to(wide) for p, q in ((a, b), (b, a), (a, a), (a, -b))
        ]
    mantissa, exponent = torch.frexp(special[:6])
    out["frexp"] = [mantissa, exponent, with_gradients(torch, lambda t: torch.frexp(t), x)]
    return out


def case_views_in_place(torch):
    def f(t):
        y = t * 2
        y.unsqueeze_(0).transpose_(1, 2)
        z = y.squeeze_(0).t_()
        return z.mul_(3).swapaxes_(0, 1)

    a = torch.zeros(2, 3)
    b = a.view(6)
    a.transpose_(0, 1)[1, 0] = 5
    return [with_gradients(torch, f, numbers(torch, 3, 4)), a, b, str(tuple(a.unsqueeze_(-1).shape))]


def case_second_doors(torch):
    x, log = numbers(torch, 3, 5), numbers(torch, 4, 2, 3).log_softmax(-1)
    return [
        torch.vander(x[0]),
        torch.vander(x[0], 3, increasing=True),
        torch.rsub(x, 2, alpha=3),
        torch.asarray([1.0, 2.0]),
        torch.frombuffer(bytearray(b"\x01\x00\x02\x00\x03\x00"), dtype=torch.int16, offset=2),
        torch.frobenius_norm(x, [0, 1]),
        torch.nuclear_norm(x),
        torch.FloatTensor([[1, 2]]),
        torch.LongTensor([3]),
        torch.max_pool3d(x.reshape(1, 1, 1, 3, 5), (1, 2, 2)),
        torch.ctc_loss(log, torch.tensor([[1, 2], [2, 1]]), torch.tensor([4, 3]), torch.tensor([2, 1]), 0, 1),
        torch.pdist(x),
        torch.vmap(lambda v: v.sum())(x),
        x.clone().apply_(lambda v: v * 2),
        x.clone().map_(x + 1, lambda a, b: a * b),
        str([x.is_signed(), x.is_same_size(x), x.is_cpu, torch.is_signed(torch.ones(1).byte())]),
    ]


def case_affine_grid(torch):
    F, out = torch.nn.functional, []
    theta, image = numbers(torch, 2, 2, 3), numbers(torch, 2, 3, 5, 4)
    for corners in (True, False):

        def moved(t, corners=corners):
            return F.grid_sample(image, F.affine_grid(t, (2, 3, 6, 1), corners), align_corners=corners)

        out.append(with_gradients(torch, moved, theta))
        out.append(F.affine_grid(numbers(torch, 1, 3, 4), (1, 2, 2, 3, 4), align_corners=corners))
    return out
