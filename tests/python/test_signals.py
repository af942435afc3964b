"""sorus.stft, istft, gradient, mode, nanquantile and grid_sample against NumPy and by hand."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

import sorus
from sorus.nn import functional as F

RANDOM = np.random.default_rng(0)


def test_spectra_over_time_and_back() -> None:
    x = RANDOM.normal(size=(2, 100))
    window = np.hanning(13)[:-1]
    y = sorus.stft(sorus.tensor(x), 16, 4, 12, sorus.tensor(window), return_complex=True)
    padded, full = np.pad(x, ((0, 0), (8, 8)), mode="reflect"), np.pad(window, (2, 2))
    wanted = np.stack([np.fft.rfft(padded[:, at : at + 16] * full) for at in range(0, 101, 4)], axis=-1)
    assert y.shape == (2, 9, 26) and np.allclose(y.numpy(), wanted)
    back = sorus.istft(y, 16, 4, 12, sorus.tensor(window), length=100)
    assert np.allclose(back.numpy(), x)
    parts = sorus.stft(sorus.tensor(x[0]), 16, normalized=True, onesided=False, return_complex=False)
    assert parts.shape == (16, 26, 2)
    again = sorus.istft(parts[..., 0] + 1j * parts[..., 1], 16, normalized=True, onesided=False)
    assert np.allclose(again.numpy(), x[0, : again.shape[0]])
    with pytest.raises(RuntimeError, match="return_complex must be given"):
        sorus.stft(sorus.tensor(x), 16)
    with pytest.raises(RuntimeError, match="9 frequencies are not those of n_fft=20"):
        sorus.istft(y, 20)
    with pytest.raises(RuntimeError, match="leave an element out"):
        sorus.istft(y, 16, 16, window=sorus.zeros(16, dtype=sorus.float64))


@pytest.mark.parametrize("order", [1, 2])
def test_differences_of_neighbours(order: Literal[1, 2]) -> None:
    x, places = RANDOM.normal(size=(4, 5)), np.sort(RANDOM.normal(size=4))
    for found, wanted in zip(
        sorus.gradient(sorus.tensor(x), edge_order=order), np.gradient(x, edge_order=order), strict=True
    ):
        assert np.allclose(found.numpy(), wanted)
    (found,) = sorus.gradient(sorus.tensor(x), spacing=(sorus.tensor(places),), dim=0, edge_order=order)
    assert np.allclose(found.numpy(), np.gradient(x, places, axis=0, edge_order=order))
    with pytest.raises(RuntimeError, match=f"at least {order + 1} elements"):
        sorus.gradient(sorus.ones(order), edge_order=order)


def test_the_most_frequent_element() -> None:
    x = sorus.tensor([[3.0, 1, 3, 2, 1], [5, 5, 5, 0, 9], [4, 3, 2, 1, 0]])
    values, indices = sorus.mode(x)
    assert values.tolist() == [1, 5, 0] and indices.tolist() == [4, 2, 4]
    assert x.mode(0, keepdim=True).values.tolist() == [[3, 1, 2, 0, 0]]
    with pytest.raises(IndexError, match="at least one element"):
        sorus.mode(sorus.ones(2, 0))


@pytest.mark.parametrize("how", ["linear", "lower", "higher", "midpoint"])
def test_quantiles_without_nan(how: Literal["linear", "lower", "higher", "midpoint"]) -> None:
    x = RANDOM.normal(size=(4, 7))
    x[0, 2], x[1, :4], x[3] = np.nan, np.nan, np.nan
    for dim in (0, 1, None):
        found = sorus.nanquantile(sorus.tensor(x), [0.1, 0.5, 0.9], dim, interpolation=how).numpy()
        with pytest.warns(RuntimeWarning) if dim == 1 else np.errstate():  # NumPy says that a row has no numbers
            wanted = np.nanquantile(x, [0.1, 0.5, 0.9], axis=dim, method=how)
        assert np.allclose(found, wanted, equal_nan=True)


def test_images_at_places() -> None:
    x = sorus.tensor(RANDOM.normal(size=(1, 2, 4, 5)), requires_grad=True)
    rows, columns = np.meshgrid(np.linspace(-1, 1, 4), np.linspace(-1, 1, 5), indexing="ij")
    grid = np.stack([columns, rows], axis=-1)[None]
    for mode in ("bilinear", "nearest", "bicubic"):
        same = F.grid_sample(x, sorus.tensor(grid), mode, align_corners=True)
        assert np.allclose(same.detach().numpy(), x.detach().numpy())
    # In the middle of four pixels, and outside.
    at = sorus.tensor([[[[0.0, 0.0], [-3.0, 0.0], [-1.4, -1.0]]]], dtype=sorus.float64)
    image = x.detach().numpy()[0, 0]
    zeros, border, mirror = (
        F.grid_sample(x, at, padding_mode=p)[0, 0, 0].detach().numpy() for p in ("zeros", "border", "reflection")
    )
    assert np.isclose(zeros[0], image[1:3, 2].mean()) and zeros[1] == 0
    assert np.isclose(border[1], image[1:3, 0].mean()) and np.isclose(
        mirror[2], image[0, 0] * 0.5 + image[0, 1] * 0.5
    )
    F.grid_sample(x, at).sum().backward()
    assert np.isclose(x.grad[0, 0, 1, 2].item(), 0.5)
    volume = sorus.tensor(RANDOM.normal(size=(1, 1, 2, 2, 2)))
    middle = F.grid_sample(volume, sorus.zeros(1, 1, 1, 1, 3, dtype=sorus.float64))
    assert np.isclose(middle.item(), volume.numpy().mean())
    with pytest.raises(ValueError, match="expected mode of"):
        F.grid_sample(x, at, "linear")
    with pytest.raises(RuntimeError, match="does not fit the input"):
        F.grid_sample(x, at[..., :1])
