"""Layers with given weights: results, gradients, names and texts; see peers.py."""


def numbers(torch, *shape, start=0.0, dtype=None):
    n = 1
    for s in shape:
        n *= s
    return torch.sin(torch.arange(n, dtype=torch.float64) * 0.7 + start).reshape(shape).to(dtype or torch.float64)


def fill(torch, module):
    """Weights that depend on their position alone; variances stay positive."""
    with torch.no_grad():
        for i, (name, t) in enumerate(module.state_dict().items()):
            if not t.is_floating_point():
                continue
            value = numbers(torch, *t.shape, start=i) * 0.4
            t.copy_(value.abs() + 0.5 if name.endswith("running_var") else value)
    return module


def flat(out):
    if isinstance(out, (tuple, list)):
        return [t for o in out for t in flat(o)]
    return [] if out is None else [out]


def run(torch, module, *given, text=True, steps=1, **kwargs):
    fill(torch, module.double())
    inputs = [x.requires_grad_(True) if torch.is_tensor(x) and x.is_floating_point() else x for x in given]
    for _ in range(steps):
        outs = flat(module(*inputs, **kwargs))
    loss = sum((o * numbers(torch, *o.shape, start=k)).sum() for k, o in enumerate(outs) if o.is_floating_point())
    loss.backward()
    result = {
        "out": outs,
        "inputs": [x.grad for x in inputs if torch.is_tensor(x)],
        "grads": {n: p.grad for n, p in module.named_parameters()},
        "buffers": dict(module.named_buffers()),
        "names": ",".join(module.state_dict()),
    }
    if text:
        result["text"] = repr(module)
    return result


def both(torch, make, *shape, **kwargs):
    """While training and after."""
    return {
        "train": run(torch, make(), numbers(torch, *shape), **kwargs),
        "eval": run(torch, make().eval(), numbers(torch, *shape), **kwargs),
    }


def case_linear(torch):
    return [
        run(torch, torch.nn.Linear(4, 3), numbers(torch, 5, 4)),
        run(torch, torch.nn.Linear(4, 3, bias=False), numbers(torch, 2, 5, 4)),
        run(torch, torch.nn.Linear(4, 3), numbers(torch, 4)),
    ]


def case_bilinear(torch):
    return run(torch, torch.nn.Bilinear(3, 4, 5), numbers(torch, 2, 6, 3), numbers(torch, 2, 6, 4, start=1))


def case_embedding(torch):
    ids = torch.tensor([[1, 2, 0], [4, 2, 2]])
    return [
        run(torch, torch.nn.Embedding(5, 3), ids),
        run(torch, torch.nn.Embedding(5, 3, padding_idx=2), ids),
        run(torch, torch.nn.Embedding(5, 3, padding_idx=-1), ids),
        torch.nn.Embedding.from_pretrained(numbers(torch, 3, 2))(torch.tensor([2, 0])),
    ]


def case_layer_norm(torch):
    return [
        run(torch, torch.nn.LayerNorm(6), numbers(torch, 2, 3, 6)),
        run(torch, torch.nn.LayerNorm((3, 6), eps=1e-3), numbers(torch, 2, 3, 6)),
        run(torch, torch.nn.LayerNorm([6], elementwise_affine=False), numbers(torch, 2, 3, 6)),
        run(torch, torch.nn.LayerNorm(6, bias=False), numbers(torch, 4, 6)),
    ]


def case_rms_norm(torch):
    return [
        run(torch, torch.nn.RMSNorm(6), numbers(torch, 2, 3, 6)),
        run(torch, torch.nn.RMSNorm([3, 6], eps=1e-2), numbers(torch, 2, 3, 6)),
    ]


def case_group_norm(torch):
    return [
        run(torch, torch.nn.GroupNorm(2, 6), numbers(torch, 2, 6, 4)),
        run(torch, torch.nn.GroupNorm(3, 6, affine=False), numbers(torch, 2, 6, 3, 2)),
    ]


def case_batch_norm(torch):
    nn = torch.nn
    return [
        both(torch, lambda: nn.BatchNorm1d(4), 5, 4),
        both(torch, lambda: nn.BatchNorm1d(4), 3, 4, 5, steps=3),
        both(torch, lambda: nn.BatchNorm2d(3, momentum=0.3, eps=1e-3), 2, 3, 4, 5, steps=2),
        both(torch, lambda: nn.BatchNorm2d(3, momentum=None), 2, 3, 4, 5, steps=3),
        both(torch, lambda: nn.BatchNorm2d(3, affine=False), 2, 3, 4, 5),
        both(torch, lambda: nn.BatchNorm2d(3, track_running_stats=False), 2, 3, 4, 5),
    ]


def case_conv1d(torch):
    C, x = torch.nn.Conv1d, lambda: numbers(torch, 2, 4, 11)
    return [
        run(torch, C(4, 6, 3), x()),
        run(torch, C(4, 6, 3, stride=2, padding=1, dilation=2, groups=2, bias=False), x()),
        run(torch, C(4, 6, 4, padding="same"), x()),
        run(torch, C(4, 6, 3, padding="valid"), x()),
        run(torch, C(4, 6, 3, padding=2, padding_mode="reflect"), x()),
        run(torch, C(4, 6, 3, padding=2, padding_mode="replicate"), x()),
        run(torch, C(4, 6, 3, padding=2, padding_mode="circular"), x()),
        run(torch, C(4, 6, 3), numbers(torch, 4, 11)),
    ]


def case_conv2d(torch):
    C, x = torch.nn.Conv2d, lambda: numbers(torch, 2, 4, 7, 8)
    return [
        run(torch, C(4, 6, 3), x()),
        run(torch, C(4, 6, (2, 3), stride=(2, 1), padding=(1, 2), dilation=(1, 2)), x()),
        run(torch, C(4, 4, 3, groups=4, padding=1), x()),
        run(torch, C(4, 6, (4, 3), padding="same", dilation=(1, 2)), x()),
        run(torch, C(4, 6, 3, padding="same", padding_mode="reflect"), x()),
        run(torch, C(4, 6, 3, padding=(1, 2), padding_mode="circular"), x()),
        run(torch, C(4, 6, 3), numbers(torch, 4, 7, 8)),
    ]


def case_conv_transpose(torch):
    nn = torch.nn
    return [
        run(torch, nn.ConvTranspose1d(4, 6, 3, stride=2, padding=1, output_padding=1), numbers(torch, 2, 4, 5)),
        run(torch, nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), numbers(torch, 2, 4, 5, 4)),
        run(torch, nn.ConvTranspose2d(4, 6, (2, 3), dilation=2, bias=False), numbers(torch, 2, 4, 5, 4)),
    ]


def case_pools(torch):
    nn, x1, x2 = torch.nn, lambda: numbers(torch, 2, 3, 9), lambda: numbers(torch, 2, 3, 7, 8)
    return [
        run(torch, nn.MaxPool1d(2), x1()),
        run(torch, nn.MaxPool1d(3, stride=2, padding=1, ceil_mode=True), x1()),
        run(torch, nn.MaxPool2d(2), x2()),
        run(torch, nn.MaxPool2d((3, 2), stride=2, padding=1, dilation=(1, 2)), x2()),
        run(torch, nn.MaxPool2d(2, return_indices=True), x2()),
        run(torch, nn.AvgPool1d(2), x1()),
        run(torch, nn.AvgPool1d(3, stride=2, padding=1, count_include_pad=False), x1()),
        run(torch, nn.AvgPool2d(2), x2()),
        run(torch, nn.AvgPool2d((3, 2), stride=(2, 1), padding=1, ceil_mode=True), x2()),
        run(torch, nn.AvgPool2d(2, divisor_override=3), x2()),
        run(torch, nn.AdaptiveAvgPool1d(4), x1()),
        run(torch, nn.AdaptiveAvgPool2d(1), x2()),
        run(torch, nn.AdaptiveAvgPool2d((3, None)), x2(), text=False),
        run(torch, nn.AdaptiveAvgPool2d((2, 5)), x2()),
    ]


def case_shapes(torch):
    nn = torch.nn
    return [
        run(torch, nn.Flatten(), numbers(torch, 2, 3, 4)),
        run(torch, nn.Flatten(0, 1), numbers(torch, 2, 3, 4)),
        run(torch, nn.Unflatten(1, (2, 3)), numbers(torch, 4, 6), text=False),
        run(torch, nn.Identity(5, a=1), numbers(torch, 3)),
        run(torch, nn.ZeroPad2d((1, 2, 0, 3)), numbers(torch, 1, 2, 3, 4)),
        run(torch, nn.ConstantPad1d(2, 0.5), numbers(torch, 1, 2, 3)),
        run(torch, nn.ReflectionPad2d(1), numbers(torch, 1, 2, 3, 4)),
        run(torch, nn.ReplicationPad1d((1, 2)), numbers(torch, 1, 2, 3)),
        run(torch, nn.CircularPad2d(1), numbers(torch, 1, 2, 3, 4)),
        run(torch, nn.PixelShuffle(2), numbers(torch, 1, 8, 3, 4)),
    ]


def case_activations(torch):
    nn = torch.nn
    layers = [
        nn.ReLU(),
        nn.ReLU6(),
        nn.LeakyReLU(0.2),
        nn.ELU(1.5),
        nn.CELU(0.7),
        nn.SELU(),
        nn.SiLU(),
        nn.Mish(),
        nn.GELU(),
        nn.GELU(approximate="tanh"),
        nn.Hardtanh(-0.5, 2.0),
        nn.Hardswish(),
        nn.Hardsigmoid(),
        nn.Hardshrink(),
        nn.Softshrink(0.3),
        nn.Tanhshrink(),
        nn.Threshold(0.1, 20.0),
        nn.Sigmoid(),
        nn.LogSigmoid(),
        nn.Tanh(),
        nn.Softsign(),
        nn.Softplus(beta=2.0),
        nn.GLU(),
        nn.Softmax(dim=1),
        nn.Softmin(dim=0),
        nn.LogSoftmax(dim=-1),
        nn.PReLU(),
        nn.PReLU(3),
    ]
    # Kinks included.
    values = [-7.0, -6.0, -3.0, -1.0, -0.5, -0.3, 0.0, 0.1, 0.3, 0.5, 1.0, 2.0, 3.0, 6.0, 7.0, 25.0, -25.0, 0.7]
    # PyTorch's softplus and softsign show no difference in text worth having.
    return {
        type(m).__name__ + str(i): run(
            torch,
            m,
            torch.tensor(values, dtype=torch.float64).reshape(2, 3, 3)[..., :2]
            if isinstance(m, nn.GLU)
            else torch.tensor(values, dtype=torch.float64).reshape(2, 3, 3),
        )
        for i, m in enumerate(layers)
    }


def case_losses(torch):
    nn = torch.nn
    x, y, w = numbers(torch, 4, 5), numbers(torch, 4, 5, start=2), numbers(torch, 5, start=3).abs()
    p, q = torch.sigmoid(x), torch.sigmoid(y * 3)
    classes, sign = torch.tensor([0, 2, 4, 1]), torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64)
    out = {}

    def loss(name, layer, *given):
        inputs = [
            t.detach().clone().requires_grad_(True) if i < 2 and t.is_floating_point() and t is not sign else t
            for i, t in enumerate(given)
        ]
        value = layer.double()(*inputs)
        value.sum().backward()
        out[name] = {"value": value, "grads": [t.grad for t in inputs if t.requires_grad]}

    for r in ("mean", "sum", "none"):
        loss(f"mse {r}", nn.MSELoss(reduction=r), x, y)
        loss(f"l1 {r}", nn.L1Loss(reduction=r), x, y)
        loss(f"smooth {r}", nn.SmoothL1Loss(reduction=r, beta=0.4), x, y)
        loss(f"huber {r}", nn.HuberLoss(reduction=r, delta=0.6), x, y)
        loss(f"bce {r}", nn.BCELoss(reduction=r, weight=w), p, q)
        loss(f"logits {r}", nn.BCEWithLogitsLoss(reduction=r, weight=w, pos_weight=w * 2), x, q)
        loss(f"kl {r}", nn.KLDivLoss(reduction=r), torch.log_softmax(x, 1), torch.softmax(y, 1))
        loss(f"cross entropy {r}", nn.CrossEntropyLoss(weight=w, reduction=r), x, classes)
        loss(f"nll {r}", nn.NLLLoss(weight=w, reduction=r, ignore_index=2), torch.log_softmax(x, 1), classes)
        loss(f"cosine {r}", nn.CosineEmbeddingLoss(margin=0.1, reduction=r), x, y, sign)
        loss(f"triplet {r}", nn.TripletMarginLoss(reduction=r, swap=True), x, y, numbers(torch, 4, 5, start=5))
        loss(f"soft margin {r}", nn.SoftMarginLoss(reduction=r), x[:, 0], sign)
    loss(
        "batchmean",
        nn.KLDivLoss(reduction="batchmean", log_target=True),
        torch.log_softmax(x, 1),
        torch.log_softmax(y, 1),
    )
    loss("smoothing", nn.CrossEntropyLoss(label_smoothing=0.1), x, classes)
    loss("ignored", nn.CrossEntropyLoss(ignore_index=2), x, classes)
    loss("probabilities", nn.CrossEntropyLoss(), x, torch.softmax(y, 1))
    loss(
        "images",
        nn.CrossEntropyLoss(),
        numbers(torch, 2, 3, 2, 2),
        torch.tensor([[[0, 1], [2, 0]], [[1, 1], [0, 2]]]),
    )
    loss(
        "certain",
        nn.BCELoss(),
        torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=torch.float64),
        torch.tensor([0.0, 1.0, 1.0, 0.0], dtype=torch.float64),
    )
    loss(
        "large",
        nn.BCEWithLogitsLoss(),
        torch.tensor([800.0, -800.0, 0.0], dtype=torch.float64),
        torch.tensor([0.0, 1.0, 0.5], dtype=torch.float64),
    )
    loss("poisson", nn.PoissonNLLLoss(full=True), x, (y * 3).abs())
    loss("poisson values", nn.PoissonNLLLoss(log_input=False), p, (y * 3).abs())
    loss("gaussian", nn.GaussianNLLLoss(full=True), x, y, q)
    loss("hinge", nn.HingeEmbeddingLoss(margin=0.5), x[:, 0], sign)
    loss("ranking", nn.MarginRankingLoss(margin=0.2), x[:, 0], y[:, 0], sign)
    loss("similarity", nn.CosineSimilarity(dim=0), x, y)
    loss("distance", nn.PairwiseDistance(p=1.5, keepdim=True), x, y)
    return out


def case_multihead_attention(torch):
    make, x, y = (
        torch.nn.MultiheadAttention,
        lambda: numbers(torch, 5, 2, 8),
        lambda: numbers(torch, 4, 2, 8, start=1),
    )
    never = torch.tensor([[i < j for j in range(5)] for i in range(5)])
    pad = torch.tensor([[False, False, True, False, False], [False, False, False, False, True]])
    q = x()
    out = [
        run(torch, make(8, 2), x(), y(), y(), text=False),
        run(
            torch,
            make(8, 4, bias=False, batch_first=True),
            x(),
            numbers(torch, 5, 3, 8),
            numbers(torch, 5, 3, 8),
            text=False,
        ),
        run(
            torch,
            make(8, 2, kdim=6, vdim=3),
            x(),
            numbers(torch, 4, 2, 6),
            numbers(torch, 4, 2, 3),
            text=False,
            average_attn_weights=False,
        ),
        run(torch, make(8, 2), q, q, q, text=False, attn_mask=never, key_padding_mask=pad),
        run(
            torch,
            make(8, 2),
            numbers(torch, 5, 8),
            numbers(torch, 5, 8),
            numbers(torch, 5, 8),
            text=False,
            need_weights=False,
        ),
    ]
    q = x()
    out.append(run(torch, make(8, 2), q, q, q, text=False, need_weights=False, attn_mask=numbers(torch, 4, 5, 5)))
    return out


def case_transformer(torch):
    nn = torch.nn
    layer = lambda **k: nn.TransformerEncoderLayer(8, 2, 16, **{"dropout": 0.0, **k})  # noqa: E731
    pad = torch.tensor([[False, False, True, False, False], [False, False, False, False, True]])
    causal = torch.tensor([[i < j for j in range(5)] for i in range(5)])
    x = lambda: numbers(torch, 5, 2, 8)  # noqa: E731
    return [
        run(torch, layer(), x(), text=False),
        run(torch, layer(norm_first=True, activation="gelu"), x(), text=False),
        run(
            torch, layer(batch_first=True, bias=False), numbers(torch, 2, 5, 8), text=False, src_key_padding_mask=pad
        ),
        run(torch, layer(activation=torch.tanh), x(), text=False, src_mask=causal),
        run(torch, nn.TransformerEncoder(layer(norm_first=True), 3, nn.LayerNorm(8)), x(), text=False),
    ]


def case_recurrent(torch):
    nn, out = torch.nn, []
    for make in (nn.LSTM, nn.GRU, nn.RNN):

        def h(n, *s, make=make):
            return (
                (numbers(torch, n, *s, 4), numbers(torch, n, *s, 4, start=2))
                if make is nn.LSTM
                else numbers(torch, n, *s, 4)
            )

        out += [
            run(torch, make(3, 4), numbers(torch, 6, 2, 3)),
            run(torch, make(3, 4, num_layers=2, bidirectional=True, batch_first=True), numbers(torch, 2, 6, 3)),
            run(torch, make(3, 4, bias=False), numbers(torch, 6, 2, 3)),
            run(torch, make(3, 4, 2), numbers(torch, 6, 2, 3), h(2, 2)),
            run(torch, make(3, 4), numbers(torch, 6, 3), h(1)),
        ]
    out.append(run(torch, nn.RNN(3, 4, nonlinearity="relu"), numbers(torch, 6, 2, 3), text=False))
    h, c = numbers(torch, 4, 2, 2), numbers(torch, 4, 2, 4, start=2)
    out.append(run(torch, nn.LSTM(3, 4, 2, proj_size=2, bidirectional=True), numbers(torch, 6, 2, 3), (h, c)))
    packed = nn.utils.rnn.pack_padded_sequence(numbers(torch, 6, 2, 3), torch.tensor([6, 3]))
    out.append(fill(torch, nn.LSTM(3, 4, proj_size=1, bias=False).double())(packed)[0].data)
    out += [
        run(torch, nn.LSTMCell(3, 4), numbers(torch, 2, 3)),
        run(torch, nn.GRUCell(3, 4), numbers(torch, 2, 3), numbers(torch, 2, 4)),
        run(torch, nn.RNNCell(3, 4, bias=False), numbers(torch, 3)),
    ]
    return out


def case_text_of_a_tree(torch):
    nn = torch.nn
    block = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Dropout(0.1))

    class Net(nn.Module):  # type: ignore[name-defined]
        def __init__(self):
            super().__init__()
            self.a = block
            self.lists = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2), nn.Tanh()])
            self.named = nn.ModuleDict({"x": nn.Identity(), "y": nn.Sequential()})

    return repr(Net())


def case_functions(torch):
    F, x = torch.nn.functional, numbers(torch, 2, 3, 4)
    index = torch.tensor([2, 0, 1])
    return {
        "pad": [
            F.pad(x, (1, 2)),
            F.pad(x, (1, 0, 2, 1), value=3.0),
            F.pad(x, (-1, 1)),
            F.pad(x, (1, 1), mode="reflect"),
        ],
        "normalize": [F.normalize(x, dim=1), F.normalize(x, p=1, dim=-1)],
        "one_hot": [F.one_hot(index), F.one_hot(index, 5)],
        "similarity": F.cosine_similarity(x, x * 2 + 1, dim=2),
        "relu": F.relu(x.clone(), inplace=True),
        "softmin": F.softmin(x, 1),
        "attention": F.scaled_dot_product_attention(x, x, x, is_causal=True),
        "masked": F.scaled_dot_product_attention(x, x, x, attn_mask=torch.tensor([[True, False, True]] * 3)),
        "grouped": F.scaled_dot_product_attention(
            numbers(torch, 2, 4, 3, 8), numbers(torch, 2, 2, 3, 8), numbers(torch, 2, 2, 3, 8), enable_gqa=True
        ),
    }


def case_init(torch):
    init, out = torch.nn.init, []
    for f in ("linear", "tanh", "relu", "leaky_relu", "selu", "sigmoid", "conv2d"):
        out.append(init.calculate_gain(f))
    out.append(init.calculate_gain("leaky_relu", 0.3))
    out += [
        init.eye_(torch.empty(3, 4)),
        init.dirac_(torch.empty(4, 2, 3, 3), groups=2),
        init.constant_(torch.empty(2, 2), 0.3),
        init.ones_(torch.empty(3)),
        init._calculate_fan_in_and_fan_out(torch.empty(4, 2, 3, 5)),
    ]
    return out


def case_volumes(torch):
    nn, shape = torch.nn, (2, 4, 5, 4, 6)
    made = {
        "conv": lambda: nn.Conv3d(4, 6, (3, 2, 3), stride=(2, 1, 2), padding=(1, 0, 1), dilation=(1, 2, 1), groups=2),
        "conv_same": lambda: nn.Conv3d(4, 2, (2, 3, 1), padding="same", bias=False),
        "conv_reflect": lambda: nn.Conv3d(4, 2, 3, padding=1, padding_mode="reflect"),
        "transposed": lambda: nn.ConvTranspose3d(4, 6, (3, 2, 3), (2, 1, 2), (1, 0, 1), (1, 0, 1), groups=2),
        "batch_norm": lambda: nn.BatchNorm3d(4),
        "instance_norm": lambda: nn.InstanceNorm3d(4, affine=True),
        "max": lambda: nn.MaxPool3d((2, 2, 3), stride=(2, 1, 2), padding=(1, 0, 1)),
        "mean": lambda: nn.AvgPool3d(2, stride=(2, 1, 2), padding=1, count_include_pad=False),
        "adaptive_mean": lambda: nn.AdaptiveAvgPool3d((2, None, 3)),
        "adaptive_max": lambda: nn.AdaptiveMaxPool3d((2, 3, 3)),
        "norm": lambda: nn.LPPool3d(2, (2, 1, 2)),
        "reflect": lambda: nn.ReflectionPad3d((1, 2, 0, 1, 2, 0)),
        "replicate": lambda: nn.ReplicationPad3d(1),
        "circular": lambda: nn.CircularPad3d((1, 0, 2, 1, 0, 1)),
        "constant": lambda: nn.ConstantPad3d(1, 0.5),
        "zero": lambda: nn.ZeroPad3d((1, 0, 2, 1, 0, 1)),
    }
    # PyTorch's padding of even kernels and its norm of windows say their texts in their own way.
    return {name: both(torch, make, *shape, text=name not in ("norm", "constant")) for name, make in made.items()}


def case_unpooling(torch):
    nn, out = torch.nn, {}
    for dims, sizes in ((1, (7,)), (2, (6, 5)), (3, (4, 5, 6))):
        pool = getattr(nn, f"MaxPool{dims}d")(2, stride=2, return_indices=True)
        unpool = getattr(nn, f"MaxUnpool{dims}d")(2, stride=2)
        x = numbers(torch, 2, 3, *sizes).requires_grad_()
        y, places = pool(x)
        back = unpool(y, places, output_size=x.shape)
        (back * numbers(torch, *back.shape, start=1)).sum().backward()
        out[str(dims)] = [y, places, back, x.grad, repr(unpool)]
    return out


def case_losses_of_labels(torch):
    nn = torch.nn
    scores = numbers(torch, 3, 4).requires_grad_()
    labels = torch.tensor([[3, 0, -1, 1], [1, 2, 3, -1], [-1, 0, 0, 0]])
    loss = nn.MultiLabelMarginLoss()(scores, labels)
    loss.backward()
    log = numbers(torch, 6, 2, 5).log_softmax(-1).detach().requires_grad_()
    scaled = log.log_softmax(-1)
    ctc = nn.CTCLoss(blank=1, reduction="sum")
    ctc_loss = ctc(scaled, torch.tensor([[0, 2, 2], [3, 4, 9]]), torch.tensor([6, 5]), torch.tensor([3, 2]))
    ctc_loss.backward()
    none = nn.CTCLoss(reduction="none")(scaled.detach(), torch.tensor([3, 4, 2]), (6, 0), (3, 0))
    return [loss, scores.grad, ctc_loss, log.grad, none, repr(ctc)]


def case_adaptive_softmax(torch):
    def make():
        return torch.nn.AdaptiveLogSoftmaxWithLoss(8, 20, [4, 10, 15], div_value=1.5, head_bias=True)

    x, y = numbers(torch, 6, 8), torch.tensor([3, 19, 0, 12, 4, 14])
    layer = fill(torch, make().double())
    return [
        run(torch, make(), x, y),
        run(torch, make(), numbers(torch, 8), torch.tensor(16), text=False),
        run(torch, make(), x, torch.tensor([0, 1, 2, 3, 0, 1]), text=False),
        layer.log_prob(x),
        layer.predict(x),
        layer.predict(x * -5),
    ]
