"""How tensors print: the same text as PyTorch's for the usual cases."""

from __future__ import annotations

import math

EDGE, THRESHOLD, WIDTH, DIGITS = 3, 1000, 80, 4


def _numbers(value, out: list) -> list:
    if isinstance(value, list):
        for v in value:
            _numbers(v, out)
    else:
        out.append(value)
    return out


def _formatter(values: list):
    """One format for all numbers of a tensor, chosen by their range."""
    if not values or isinstance(values[0], bool):
        return lambda v: str(v).rjust(5 if True in values and False in values else 0)
    if isinstance(values[0], complex):
        return lambda v: f"{v.real:.{DIGITS}f}{v.imag:+.{DIGITS}f}j"
    if isinstance(values[0], int):
        width = max(len(str(v)) for v in values)
        return lambda v: str(v).rjust(width)
    finite = [abs(v) for v in values if math.isfinite(v) and v != 0]
    high, low = max(finite, default=0.0), min(finite, default=0.0)
    if all(v == int(v) for v in finite):
        text = (lambda v: f"{v:.0f}.") if high < 1e8 else (lambda v: f"{v:.{DIGITS}e}")
    elif high > 1e8 or low < 1e-4 or high / low > 1000:
        text = lambda v: f"{v:.{DIGITS}e}"  # noqa: E731
    else:
        text = lambda v: f"{v:.{DIGITS}f}"  # noqa: E731
    show = lambda v: text(v) if math.isfinite(v) else str(v)  # noqa: E731
    width = max(len(show(v)) for v in values)
    return lambda v: show(v).rjust(width)


def _summary(tensor, dim: int = 0):
    """Nested lists with "..." where a long dimension is cut."""
    if tensor.dim() == 0:
        return tensor.item()
    n = tensor.shape[0]
    if n > 2 * EDGE:
        return [*(_summary(tensor[i]) for i in range(EDGE)), ..., *(_summary(tensor[i]) for i in range(n - EDGE, n))]
    return [_summary(tensor[i]) for i in range(n)]


def _lines(value, show, indent: int) -> str:
    if value is ...:
        return "..."
    if not isinstance(value, list):
        return show(value)
    if not value or not isinstance(next((v for v in value if v is not ...), None), list):
        words, lines, line = [_lines(v, show, indent) for v in value], [], ""
        for i, word in enumerate(words):
            word += "," if i + 1 < len(words) else ""
            if line and indent + len(line) + 1 + len(word) > WIDTH:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}" if line else word
        lines.append(line)
        return "[" + ("\n" + " " * (indent + 1)).join(lines) + "]"
    depth, inner = 0, value[0]
    while isinstance(inner, list):
        depth, inner = depth + 1, (inner[0] if inner else None)
    gap = "," + "\n" * depth + " " * (indent + 1)
    return "[" + gap.join(_lines(v, show, indent + 1) for v in value) + "]"


def tensor_text(tensor) -> str:
    import sorus

    prefix = "tensor("
    grad = tensor.requires_grad
    name = type(tensor).__name__
    if name == "Parameter":
        prefix = "Parameter containing:\ntensor("
    data = tensor.detach()
    value = _summary(data) if data.numel() > THRESHOLD else data.tolist()
    show = _formatter([v for v in _numbers(value, []) if v is not ...])
    text = prefix + _lines(value, show, len("tensor("))
    usual = (sorus.get_default_dtype(), sorus.int64, sorus.bool)
    if data.numel() == 0:
        text += f", size={tuple(data.shape)}" if data.dim() != 1 else ""
    if data.dtype not in usual or (data.numel() == 0 and data.dtype != usual[0]):
        text += f", dtype={data.dtype}"
    if grad:
        text += f", grad_fn={tensor.grad_fn}" if tensor.grad_fn is not None else ", requires_grad=True"
    return text + ")"
