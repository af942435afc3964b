"""The functions of layers under the names of torch.nn.functional: the operators, and those that draw or write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import _core
from .._core import Tensor, _functional, operators
from ._embedding import embedding as embedding
from ._embedding import embedding_bag as embedding_bag
from ._fractional import fractional_max_pool
from ._losses import ctc_loss as ctc_loss
from ._losses import linear_cross_entropy as linear_cross_entropy
from ._losses import multilabel_margin_loss as multilabel_margin_loss
from ._losses import pdist as pdist
from ._sampling import affine_grid as affine_grid
from ._sampling import grid_sample as grid_sample
from ._volumes import adaptive_avg_pool3d as adaptive_avg_pool3d
from ._volumes import avg_pool3d as avg_pool3d
from ._volumes import max_pool3d as max_pool3d
from ._volumes import max_unpool as _max_unpool

if TYPE_CHECKING:  # the operators are there at run time only

    def __getattr__(name: str) -> Any: ...


# What was imported above stands before the operator of the same name, which knows fewer arguments.
globals().update({name: f for name, f in operators.items() if "." not in name and name not in globals()})

max_unpool1d, max_unpool2d, max_unpool3d = _max_unpool(1), _max_unpool(2), _max_unpool(3)
fractional_max_pool2d, fractional_max_pool3d = fractional_max_pool(2), fractional_max_pool(3)
dropout, batch_norm = _functional.dropout, _functional.batch_norm
dropout1d = dropout2d = dropout3d = _functional.dropout_channels
scaled_dot_product_attention, rotary = _functional.scaled_dot_product_attention, _functional.rotary


def _inplace_too(name: str) -> Any:
    """PyTorch's `inplace` argument: the input then holds the result."""
    function = operators[name]

    def call(input: Tensor, *args: Any, inplace: bool = False, **kwargs: Any) -> Tensor:
        if inplace:
            return getattr(input, name + "_")(*args, **kwargs)
        return function(input, *args, **kwargs)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = function.__doc__
    return call


for _name in (
    "relu",
    "relu6",
    "leaky_relu",
    "elu",
    "celu",
    "selu",
    "silu",
    "mish",
    "hardtanh",
    "hardswish",
    "hardsigmoid",
    "threshold",
):
    globals()[_name] = _inplace_too(_name)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Rows of zeros with a one at each index: [..] of integers to [.., num_classes]. ValueError if one does not fit."""
    if tensor.is_floating_point() or tensor.is_complex():
        raise RuntimeError(f"one_hot: expected integers, got {tensor.dtype}")
    if num_classes < 0 or not _core._is_recording():  # a recorded graph does not know the numbers
        largest = int(tensor.max().item()) if tensor.numel() else -1
        if tensor.numel() and int(tensor.min().item()) < 0:
            raise ValueError("one_hot: indices must not be negative")
        if num_classes < 0:
            num_classes = largest + 1
        if largest >= num_classes:
            raise ValueError(f"one_hot: index {largest} does not fit into {num_classes} classes")
    return (tensor.unsqueeze(-1) == operators["arange"](num_classes)).to(_core.int64)


def _sizes(wanted: Any, input: Tensor, spatial: int) -> list[int]:
    """Sizes of the result of adaptive pooling: None keeps that of the input."""
    given = list(wanted) if isinstance(wanted, (tuple, list)) else [wanted] * spatial
    if len(given) != spatial:
        raise ValueError(f"adaptive pooling: expected {spatial} sizes, found {wanted}")
    return [input.shape[i - spatial] if n is None else int(n) for i, n in enumerate(given)]


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """Means of as many windows as asked for: [.., L] to [.., output_size]."""
    return operators["adaptive_avg_pool1d"](input, _sizes(output_size, input, 1))


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Means of as many windows as asked for: [.., H, W] to [.., *output_size]; None keeps a size."""
    return operators["adaptive_avg_pool2d"](input, _sizes(output_size, input, 2))


def _adaptive_max(input: Tensor, output_size: Any, spatial: int, return_indices: bool) -> Any:
    """Windows of adaptive pooling, each a slice of its own; they may overlap and differ in size."""
    sizes = _sizes(output_size, input, spatial)
    x, place = input, None
    for i, n in enumerate(sizes):
        d = x.dim() - spatial + i
        size = x.shape[d]
        parts, places = [], []
        for o in range(n):
            start, end = o * size // n, -(-(o + 1) * size // n)
            best = x.narrow(d, start, end - start).max(d, keepdim=True)
            parts.append(best.values)
            row = best.indices + start
            # The place in the whole plane: rows of dimensions before, then along this one.
            places.append(row if place is None else place.gather(d, row) * size + row)
        x, place = operators["cat"](parts, d), operators["cat"](places, d)
    return (x, place) if return_indices else x


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima of as many windows as asked for."""
    return _adaptive_max(input, output_size, 1, return_indices)


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima of as many windows as asked for; None keeps a size."""
    return _adaptive_max(input, output_size, 2, return_indices)


def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima of as many windows of volumes as asked for; None keeps a size."""
    return _adaptive_max(input, output_size, 3, return_indices)


def _max_pool(name: str, where: str) -> Any:
    """The function of that name, beside which there is an operator that gives the places as well."""

    def call(
        input: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        function = operators[f"{name}_with_indices" if return_indices else name]
        result = function(input, kernel_size, stride or None, padding, dilation, ceil_mode)
        return tuple(result) if return_indices else result

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"Maximum of each window, with its place{where} if asked for."
    return call


max_pool1d, max_pool2d = _max_pool("max_pool1d", ""), _max_pool("max_pool2d", " in the plane")


def lp_pool2d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """The norm of order `norm_type` of each window."""
    kh, kw = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    y = operators["avg_pool2d"](input.pow(norm_type), kernel_size, stride, 0, ceil_mode)
    return (operators["sign"](y) * operators["relu"](y.abs())).mul(kw * kh).pow(1.0 / norm_type)


def lp_pool3d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """The norm of order `norm_type` of each window of volumes."""
    kd, kh, kw = (kernel_size,) * 3 if isinstance(kernel_size, int) else kernel_size
    y = avg_pool3d(input.pow(norm_type), kernel_size, stride, 0, ceil_mode)
    return (operators["sign"](y) * operators["relu"](y.abs())).mul(kd * kw * kh).pow(1.0 / norm_type)


def lp_pool1d(
    input: Tensor, norm_type: float, kernel_size: int, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """The norm of order `norm_type` of each window."""
    y = operators["avg_pool1d"](input.pow(norm_type), kernel_size, stride, 0, ceil_mode)
    return (operators["sign"](y) * operators["relu"](y.abs())).mul(kernel_size).pow(1.0 / norm_type)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalizes each channel of each sample [N, C, ..] over its elements (Ulyanov et al. 2016)."""
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    _n, c = input.shape[:2]
    if input[0, 0].numel() == 1:
        raise ValueError(f"instance_norm: expected more than 1 spatial element, got input size {tuple(input.shape)}")
    if running_mean is not None:
        dims = list(range(2, input.dim()))
        var, mean = operators["var_mean"](input.detach(), dims)
        assert running_var is not None
        running_mean.lerp_(mean.mean(0), momentum)
        running_var.lerp_(var.mean(0), momentum)
    y = operators["group_norm"](input, c, None, None, eps)
    shape = [1, c] + [1] * (input.dim() - 2)
    if weight is not None:
        y = y * weight.reshape(shape)
    return y if bias is None else y + bias.reshape(shape)


def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """Each element divided by a power of the mean square of its neighbours in `size` channels."""
    if input.dim() < 3:
        raise ValueError(f"local_response_norm: expected at least 3 dimensions, got {tuple(input.shape)}")
    if input.numel() == 0:
        return input
    squares = (input * input).movedim(1, -1)
    shape = squares.shape
    flat = operators["pad"](squares.reshape(1, -1, shape[-1]), [size // 2, (size - 1) // 2])
    mean = operators["avg_pool1d"](flat, size, 1).reshape(shape).movedim(-1, 1)
    return input / (mean * alpha + k).pow(beta)


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x1^T W x2 + b: [.., m], [.., n], weight [k, m, n] to [.., k]."""
    y = operators["einsum"]("...m,kmn,...n->...k", [input1, weight, input2])
    return y if bias is None else y + bias


def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """The windows of images as columns: [N, C, H, W] to [N, C * window, number of windows]."""
    (kh, kw), (dh, dw), (ph, pw), (sh, sw) = (
        (v, v) if isinstance(v, int) else v for v in (kernel_size, dilation, padding, stride)
    )
    x = input.unsqueeze(0) if input.dim() == 3 else input
    x = operators["pad"](x, [pw, pw, ph, ph])
    n, c, h, w = x.shape
    rows, columns = (h - dh * (kh - 1) - 1) // sh + 1, (w - dw * (kw - 1) - 1) // sw + 1
    if rows <= 0 or columns <= 0:
        raise RuntimeError(f"unfold: a window of {(kh, kw)} does not fit {tuple(input.shape)}")
    parts = [
        x[:, :, i * dh : i * dh + sh * (rows - 1) + 1 : sh, j * dw : j * dw + sw * (columns - 1) + 1 : sw]
        for i in range(kh)
        for j in range(kw)
    ]
    y = operators["stack"](parts, 2).reshape(n, c * kh * kw, rows * columns)
    return y[0] if input.dim() == 3 else y


def fold(
    input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """Adds up columns of windows as `unfold` made them: [N, C * window, number of windows] to [N, C, H, W]."""
    (oh, ow), (kh, kw), (dh, dw), (ph, pw), (sh, sw) = (
        (v, v) if isinstance(v, int) else v for v in (output_size, kernel_size, dilation, padding, stride)
    )
    x = input.unsqueeze(0) if input.dim() == 2 else input
    h, w = oh + 2 * ph, ow + 2 * pw
    rows, columns = (h - dh * (kh - 1) - 1) // sh + 1, (w - dw * (kw - 1) - 1) // sw + 1
    n, c = x.shape[0], x.shape[1] // (kh * kw)
    if x.shape[2] != rows * columns or c * kh * kw != x.shape[1]:
        raise RuntimeError(f"fold: {tuple(input.shape)} does not hold {rows * columns} windows of {(kh, kw)}")
    # The gradient of unfold: each element of the columns goes where its window took it from.
    places = unfold(operators["arange"](h * w).reshape(1, 1, h, w).double(), (kh, kw), (dh, dw), 0, (sh, sw))
    places = places.long().reshape(-1).expand(n, c, kh * kw * rows * columns)
    y = operators["scatter_add"](x.new_zeros((n, c, h * w)), 2, places.contiguous(), x.reshape(n, c, -1))
    y = y.reshape(n, c, h, w)[:, :, ph : ph + oh, pw : pw + ow]
    return y[0] if input.dim() == 2 else y


def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Mean over classes of max(0, margin - x[target] + x[i])^p for i other than the target."""
    x, t = (input.reshape(1, -1), target.reshape(1)) if input.dim() <= 1 else (input, target)
    own = x.gather(1, t.unsqueeze(1))
    loss = operators["relu"](margin - own + x).pow(p)
    if weight is not None:
        loss = loss * weight[t].unsqueeze(1)
    loss = operators["where"](operators["arange"](x.shape[1]) == t.unsqueeze(1), 0.0, loss).sum(1) / x.shape[1]
    return _reduced(loss[0] if input.dim() <= 1 else loss, reduction)


def multilabel_soft_margin_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """Mean over classes of the binary cross entropy of sigmoid(input)."""
    loss = -(target * operators["logsigmoid"](input) + (1 - target) * operators["logsigmoid"](-input))
    if weight is not None:
        loss = loss * weight
    return _reduced(loss.mean(-1), reduction)


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Any = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin)."""
    distance = distance_function or operators["pairwise_distance"]
    far = distance(anchor, negative)
    if swap:
        far = operators["minimum"](far, distance(positive, negative))
    return _reduced(operators["relu"](distance(anchor, positive) - far + margin), reduction)


def _reduced(loss: Tensor, reduction: str) -> Tensor:
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', not {reduction!r}")
    return loss if reduction == "none" else loss.mean() if reduction == "mean" else loss.sum()


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return input / (input.abs() + 1)


def rrelu(
    input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """Leaky ReLU whose slope is drawn for each element while training, and the mean of the bounds otherwise."""
    slope = (lower + upper) / 2
    if training:
        slope = _core.rand(*input.shape, dtype=input.dtype) * (upper - lower) + lower
    y = operators["where"](input >= 0, input, input * slope)
    return input.copy_(y) if inplace else y


def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """Draws from a softmax that can be differentiated (Jang et al. 2016); one-hot in forward if `hard`."""
    noise = -(-(1 - _core.rand(*logits.shape, dtype=logits.dtype)).log()).clamp(min=1e-38).log()
    soft = operators["softmax"]((logits + noise) / tau, dim)
    if not hard:
        return soft
    picked = soft.argmax(dim, keepdim=True)
    one = operators["scatter"](operators["zeros_like"](soft), dim, picked, 1.0)
    return one - soft.detach() + soft


def _alpha_dropout(input: Tensor, p: float, training: bool, inplace: bool, features: int | None) -> Tensor:
    """Draws for each element, or for all that share their first `features` indices."""
    if not 0 <= p <= 1:
        raise ValueError(f"alpha_dropout: expected a probability, found {p}")
    if not training or p == 0:
        return input
    if p == 1:  # nothing is kept, and there is no variance to restore
        return input.mul_(0) if inplace else input * 0
    low = -1.7580993408473766
    a = (1 / ((1 - p) * (1 + p * low**2))) ** 0.5
    shape = input.shape if features is None else [*input.shape[:features], *[1] * (input.dim() - features)]
    keep = (_core.rand(*shape, dtype=input.dtype) >= p).to(input.dtype)
    y = (input * keep + low * (1 - keep)) * a - a * low * p
    return input.copy_(y) if inplace else y


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout that keeps mean and variance of what SELU makes (Klambauer et al. 2017)."""
    return _alpha_dropout(input, p, training, inplace, None)


def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """`alpha_dropout` of whole channels: input [N, C, ..]."""
    return _alpha_dropout(input, p, training, inplace, 2)


def upsample(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """`interpolate` under its older name."""
    return operators["interpolate"](input, size, scale_factor, mode, align_corners)


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Attention of several heads over [time, batch, width] (or without batch): the output and, if asked for, the weights."""
    single = query.dim() == 2
    if single:
        query, key, value = (t.unsqueeze(1) for t in (query, key, value))
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    t, b, e = query.shape
    if e != embed_dim_to_check or e % num_heads:
        raise ValueError(f"multi_head_attention_forward: expected a width of {embed_dim_to_check}, a multiple of "
                         f"{num_heads} heads, found {e}")  # fmt: skip
    linear, cat = operators["linear"], operators["cat"]
    weights: Any = (q_proj_weight, k_proj_weight, v_proj_weight)
    if not use_separate_proj_weight:
        assert in_proj_weight is not None
        weights = in_proj_weight.chunk(3)
    biases = (None,) * 3 if in_proj_bias is None else in_proj_bias.chunk(3)
    q, k, v = (linear(x, w, c) for x, w, c in zip((query, key, value), weights, biases, strict=True))
    added = 0
    if bias_k is not None and bias_v is not None:
        k, v = cat([k, bias_k.expand(1, b, e)]), cat([v, bias_v.expand(1, b, e)])
        added += 1
    width = e // num_heads

    def heads(x: Tensor) -> Tensor:  # [time, batch, width] to [batch, heads, time, width of a head]
        return x.reshape(x.shape[0], b, num_heads, width).permute(1, 2, 0, 3)

    q = heads(q)
    k = heads(k) if static_k is None else static_k.reshape(b, num_heads, -1, width)
    v = heads(v) if static_v is None else static_v.reshape(b, num_heads, -1, width)
    if add_zero_attn:
        zero = q.new_zeros((b, num_heads, 1, width))
        k, v = cat([k, zero], 2), cat([v, zero], 2)
        added += 1
    source = k.shape[2]
    # Scores of half types are float32: rounded beside a mask, a large one would decide by its last digit.
    half = q.dtype in (_core.float16, _core.bfloat16)
    wide = _core.float32 if half else q.dtype

    def as_bias(mask: Tensor) -> Tensor:
        if mask.dtype is not _core.bool:
            return mask.to(wide)
        return operators["where"](mask, float("-inf"), operators["zeros_like"](mask, dtype=wide))

    bias = None
    if attn_mask is not None:
        bias = operators["pad"](as_bias(attn_mask), [0, added]) if added else as_bias(attn_mask)
        bias = bias.reshape(b, num_heads, t, source) if bias.dim() == 3 else bias
    elif is_causal:
        raise ValueError("multi_head_attention_forward: is_causal is a hint that needs attn_mask")
    if key_padding_mask is not None:
        own = as_bias(key_padding_mask)
        own = (operators["pad"](own, [0, added]) if added else own).reshape(b, 1, 1, source)
        bias = own if bias is None else bias + own
    scores = (q.to(wide) * width**-0.5) @ k.to(wide).transpose(-2, -1)
    share = operators["softmax"](scores if bias is None else scores + bias, -1).to(v.dtype)
    if training and dropout_p > 0:
        share = dropout(share, dropout_p)
    out = (share @ v).permute(2, 0, 1, 3).reshape(t, b, e)
    out = linear(out, out_proj_weight, out_proj_bias)
    shown = None
    if need_weights:
        shown = share.mean(1) if average_attn_weights else share
    if single:
        return out.squeeze(1), None if shown is None else shown.squeeze(0)
    return out, shown


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` with mode="nearest"."""
    return operators["interpolate"](input, size, scale_factor, mode="nearest")


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` with mode="bilinear" and aligned corners."""
    return operators["interpolate"](input, size, scale_factor, mode="bilinear", align_corners=True)
