"""How tensors print: the same text as PyTorch's for the usual cases."""

from __future__ import annotations

import math

EDGE, WIDTH, DIGITS, SCIENTIFIC = 3, 80, 4, None
THRESHOLD: float = 1000

_PROFILES = {"default": (4, 1000, 3, 80), "short": (2, 1000, 2, 80), "full": (4, math.inf, 3, 80)}


def set_printoptions(
    precision=None, threshold=None, edgeitems=None, linewidth=None, profile=None, sci_mode=None
) -> None:
    """How tensors print: digits, elements above which the middle is left out, elements shown at each end, width of a
    line, and whether numbers are shown with powers of ten (None: where they need it). ValueError for an unknown profile.
    """
    global EDGE, THRESHOLD, WIDTH, DIGITS, SCIENTIFIC
    if profile is not None:
        if profile not in _PROFILES:
            raise ValueError(f"set_printoptions: profile must be one of {', '.join(_PROFILES)}, not {profile!r}")
        DIGITS, THRESHOLD, EDGE, WIDTH = _PROFILES[profile]
        SCIENTIFIC = None
    DIGITS = DIGITS if precision is None else precision
    THRESHOLD = THRESHOLD if threshold is None else threshold
    EDGE = EDGE if edgeitems is None else edgeitems
    WIDTH = WIDTH if linewidth is None else linewidth
    SCIENTIFIC = sci_mode if sci_mode is not None or (profile is None and SCIENTIFIC is None) else SCIENTIFIC


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
        real, imag = (_formatter([getattr(v, part) for v in values]) for part in ("real", "imag"))
        return lambda v: f"{real(v.real)}{'-' if math.copysign(1, v.imag) < 0 else '+'}{imag(abs(v.imag)).strip()}j"
    if isinstance(values[0], int):
        width = max(len(str(v)) for v in values)
        return lambda v: str(v).rjust(width)
    finite = [abs(v) for v in values if math.isfinite(v) and v != 0]
    high, low = max(finite, default=0.0), min(finite, default=0.0)
    whole = all(v == int(v) for v in finite)
    wide = high > 1e8 or high / (low or 1) > 1000 or (not whole and low < 1e-4)
    if SCIENTIFIC is not None:
        wide = SCIENTIFIC
    if whole and not wide:
        text = lambda v: f"{v:.0f}."  # noqa: E731
    elif wide:
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
        words, lines, line = [" ..." if v is ... else show(v) for v in value], [], ""
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
    data = tensor.detach()
    # As PyTorch: without elements there is nothing to nest.
    value = [] if data.numel() == 0 else _summary(data) if data.numel() > THRESHOLD else data.tolist()
    show = _formatter([v for v in _numbers(value, []) if v is not ...])
    text = prefix + _lines(value, show, len("tensor("))
    usual = [sorus.get_default_dtype(), sorus.int64, sorus.bool]
    usual.append(sorus.complex128 if usual[0] is sorus.float64 else sorus.complex64)
    suffixes = []
    if data.numel() == 0 and data.dim() != 1:
        suffixes.append(f"size={tuple(data.shape)}")
    if data.dtype not in usual or (data.numel() == 0 and data.dtype != usual[0]):
        suffixes.append(f"dtype={data.dtype}")
    if grad:
        suffixes.append(f"grad_fn={tensor.grad_fn}" if tensor.grad_fn is not None else "requires_grad=True")
    width = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:  # on a line of its own where the line would be too long
        if width + len(suffix) + 2 > WIDTH:
            text, width = text + ",\n" + " " * len("tensor(") + suffix, len("tensor(") + len(suffix)
        else:
            text, width = f"{text}, {suffix}", width + len(suffix) + 2
    return text + ")"
