"""Special functions and functions of places: values, and gradients where there are any; see peers.py."""


def numbers(torch, *shape, start=0.0):
    n = 1
    for size in shape:
        n *= size
    return torch.sin(torch.arange(n, dtype=torch.float64) * 0.7 + start).reshape(shape)


def with_gradients(torch, f, *given):
    inputs = [x.clone().requires_grad_(True) if x.is_floating_point() else x for x in given]
    out = f(*inputs)
    (out * numbers(torch, *out.shape, start=2)).sum().backward()
    return {"out": out, "grads": [x.grad for x in inputs if x.is_floating_point()]}


def case_special_functions(torch):
    s = torch.special
    x, p = numbers(torch, 12) * 3, numbers(torch, 12).abs() * 9 + 0.05
    out = [with_gradients(torch, f, x) for f in (torch.i0, s.i0e, s.i1, s.i1e, s.erfcx, s.ndtr, s.log_ndtr)]
    out += [with_gradients(torch, f, p) for f in (lambda t: torch.polygamma(1, t), lambda t: t.polygamma(3))]
    out += [with_gradients(torch, s.ndtri, p / 10)]
    # Of Bessel functions of the first two kinds PyTorch has seven digits in double precision too.
    out += [f(p.float()) for f in (s.bessel_j0, s.bessel_j1, s.bessel_y0, s.bessel_y1)]
    out += [
        f(p) for f in (s.modified_bessel_i0, s.modified_bessel_i1, s.modified_bessel_k0, s.modified_bessel_k1,
                       s.scaled_modified_bessel_k0, s.scaled_modified_bessel_k1, s.spherical_bessel_j0, s.airy_ai)
    ]  # fmt: skip
    a = numbers(torch, 12, start=1).abs() * 9
    out += [torch.igamma(a, p), torch.igammac(a, p), s.gammainc(a, p), s.gammaincc(a, p), s.zeta(a + 1.1, p)]
    out += [
        with_gradients(torch, lambda t: torch.igamma(a, t), p),
        with_gradients(torch, lambda t: s.zeta(a + 1.1, t), p),
    ]
    return out


def case_polynomials(torch):
    s, x, n = torch.special, numbers(torch, 14) * 1.5, torch.arange(14) - 2
    families = ["chebyshev_polynomial_" + k for k in "tuvw"] + ["shifted_chebyshev_polynomial_" + k for k in "tuvw"]
    families += ["hermite_polynomial_h", "hermite_polynomial_he", "laguerre_polynomial_l", "legendre_polynomial_p"]
    return {name: getattr(s, name)(x, n) for name in families}


def case_whole_numbers(torch):
    a, b = torch.tensor([12, -18, 0, 7, 2**40]), torch.tensor([18, 27, 5, 0, 2**35 * 3])
    small = torch.tensor([200, 100, 50], dtype=torch.uint8)
    return [
        torch.gcd(a, b),
        torch.lcm(a, b),
        a.gcd(b),
        torch.gcd(small, torch.tensor(75, dtype=torch.uint8)),
        small.all(),
        small.any(),
        (small > 60).any(),
        torch.trapezoid(small),
        torch.trapezoid(small, torch.tensor([9, 3, 7], dtype=torch.uint8)),
        torch.cumulative_trapezoid(small),
        torch.tensordot(small.reshape(3, 1), small.reshape(3, 1), 0),
        torch.addbmm(torch.ones(1, 1, dtype=torch.int32), *[torch.ones(2, 1, 1, dtype=torch.int32)] * 2),
        torch.nn.functional.interpolate(
            (torch.arange(48) * 5 % 256).to(torch.uint8).reshape(1, 3, 4, 4), scale_factor=1.7, mode="bilinear"
        ),
        torch.nn.functional.interpolate(
            (torch.arange(363) * 37 % 256).to(torch.uint8).reshape(1, 3, 11, 11), 4, mode="bicubic", antialias=True
        ),
        torch.nn.EmbeddingBag.from_pretrained(numbers(torch, 3, 2), True, None, 2.0, False, "max")(
            torch.tensor([[0, 1], [2, 2]])
        ),
        torch.nn.functional.interpolate(
            (torch.arange(48) * 37 % 256).to(torch.uint8).reshape(1, 3, 4, 4), (3, 5), mode="bicubic"
        ),
    ]


def case_complex_parts(torch):
    x, y = numbers(torch, 5), numbers(torch, 5, start=1)
    z = x.clone().requires_grad_(True)
    w = torch.complex(z, y)
    (w * w).abs().sum().backward()
    return [
        torch.complex(x, y),
        torch.polar(x.abs(), y),
        torch.complex(x[:2], torch.tensor([float("inf"), 1.0]).double()),
        z.grad,
    ]


def case_places(torch):
    x, source = numbers(torch, 3, 4), numbers(torch, 2, 2, start=1)
    index = torch.tensor([[0, 5], [-1, 7]])
    empty = torch.empty_permuted((2, 3, 4), (2, 0, 1))
    return [
        with_gradients(torch, lambda a, b: torch.put(a, index, b), x, source),
        with_gradients(torch, lambda a, b: a.put(index * 0 + 1, b, accumulate=True), x, source),
        x.clone().put_(index, source),
        torch.unravel_index(torch.tensor([[0, 7], [11, 5]]), (3, 4)),
        torch.unravel_index(torch.tensor([0, 255], dtype=torch.uint8), (20, 15)),
        torch.nonzero_static(torch.tensor([0, 3, 4, 0]), size=3),
        torch.nonzero_static(torch.tensor([[1, 3], [4, 0]]), size=2),
        torch.tensor(list(torch.empty_strided((2, 3), (1, 5)).stride()) + list(empty.stride())),
        torch.arange(6).resize_(2, 2),
        x.clone().renorm_(2, 0, 1.0),
        torch.ger(x[0], x[1]),
        torch.arange(6).resize_as_(torch.zeros(3, 1)),
    ]


def case_histograms(torch):
    x, w = numbers(torch, 40), numbers(torch, 40, start=1).abs()
    points = numbers(torch, 20, 2)
    edges = torch.tensor([-1.0, -0.5, 0.7, 1.0], dtype=torch.float64)
    return [
        tuple(torch.histogram(x, 5)),
        tuple(torch.histogram(x, 4, range=(-0.5, 0.5), weight=w, density=True)),
        tuple(torch.histogram(x, edges)),
        tuple(torch.histogram(torch.zeros(3), 2)),
        [torch.histogramdd(points, [3, 2])[0], *torch.histogramdd(points, [3, 2])[1]],
        torch.histogramdd(points, [edges, edges], weight=w[:20], density=True)[0],
        torch.histogramdd(points, 2, range=[-1.0, 0.0, 0.0, 1.0])[0],
    ]


def case_bags(torch):
    f, weight = torch.nn.functional, numbers(torch, 6, 3)
    flat, offsets = torch.tensor([0, 2, 2, 5, 1, 0, 4]), torch.tensor([0, 3, 3, 6])
    shares = numbers(torch, 7, start=3)
    out = [
        with_gradients(torch, lambda t, m=mode, o=options: f.embedding_bag(flat, t, offsets, mode=m, **o), weight)
        for mode in ("sum", "mean", "max")
        for options in ({}, {"padding_idx": 0}, {"include_last_offset": True})
    ]
    out += [with_gradients(torch, lambda t, m=mode: f.embedding_bag(flat[:6].reshape(2, 3), t, mode=m), weight)
            for mode in ("sum", "mean", "max")]  # fmt: skip
    return [
        *out,
        with_gradients(
            torch, lambda t, s: f.embedding_bag(flat, t, offsets, mode="sum", per_sample_weights=s), weight, shares
        ),
    ]


def case_layers(torch):
    f, x = torch.nn.functional, numbers(torch, 1, 2, 5, 6, 7)
    scores, target = numbers(torch, 4, 3), torch.tensor([0, 2, 1, 1])
    return [
        with_gradients(torch, lambda t: f.adaptive_max_pool3d(t, (2, 3, None)), x),
        f.adaptive_max_pool3d(x, 2, return_indices=True)[1],
        f.feature_alpha_dropout(x, 0.5, training=False),
        with_gradients(
            torch, lambda a, w: f.linear_cross_entropy(a, w, target), scores, numbers(torch, 5, 3, start=1)
        ),
        f.linear_cross_entropy(scores, numbers(torch, 5, 2, 3), target.reshape(4, 1).expand(4, 2), reduction="none"),
    ]


def case_reflections(torch):
    place = torch.arange(24, dtype=torch.float64).reshape(2, 4, 3)
    real, imag, out = torch.sin(place * place), torch.cos(place * place * 0.7), []
    for a in (real, torch.complex(real, imag), real.transpose(-2, -1)):
        factors, tau = torch.geqrf(a)
        other = torch.complex(numbers(torch, 2, a.shape[-2], 2), numbers(torch, 2, a.shape[-2], 2, start=3)) if a.is_complex() \
            else numbers(torch, 2, a.shape[-2], 2)  # fmt: skip
        lu = torch.lu(a)
        out += [factors, tau, torch.ormqr(factors[..., : tau.shape[-1]], tau, other), lu[0], lu[1]]
        out.append(
            torch.ormqr(factors[..., : tau.shape[-1]], tau, other.transpose(-2, -1), left=False, transpose=True)
        )
    return out
