"""sorus.fft against NumPy's transforms, its gradients, and windows."""

import numpy as np
import pytest
from sorus.autograd import gradcheck

import sorus


def draw(*shape, seed=0):
    r = np.random.default_rng(seed)
    return r.standard_normal(shape) + 1j * r.standard_normal(shape)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 8, 12, 15, 30, 31, 37, 49, 64, 74, 100, 127, 360])
def test_every_length(n):
    x = draw(3, n)
    for name in ("fft", "ifft"):
        y = getattr(sorus.fft, name)(sorus.tensor(x)).numpy()
        np.testing.assert_allclose(y, getattr(np.fft, name)(x), rtol=1e-11, atol=1e-11)
    single = sorus.fft.fft(sorus.tensor(x).to(sorus.complex64))
    assert single.dtype is sorus.complex64
    np.testing.assert_allclose(single.numpy(), np.fft.fft(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", [None, "ortho", "forward", "backward"])
@pytest.mark.parametrize("n", [None, 3, 8, 9])
def test_real_and_hermitian(norm, n):
    x = draw(4, 6)
    for name, values in (("rfft", x.real), ("irfft", x), ("hfft", x), ("ihfft", x.real)):
        y = getattr(sorus.fft, name)(sorus.tensor(values), n, 1, norm).numpy()
        np.testing.assert_allclose(y, getattr(np.fft, name)(values, n, 1, norm), rtol=1e-10, atol=1e-10)


def test_several_dimensions():
    x = draw(3, 4, 6)
    for name in ("fftn", "ifftn", "irfftn", "rfftn", "fft2", "irfft2"):
        values = x.real if name == "rfftn" else x
        y = getattr(sorus.fft, name)(sorus.tensor(values)).numpy()
        np.testing.assert_allclose(y, getattr(np.fft, name)(values), rtol=1e-10, atol=1e-10)
    y = sorus.fft.fftn(sorus.tensor(x), (5, 2), (0, 2)).numpy()
    np.testing.assert_allclose(y, np.fft.fftn(x, (5, 2), (0, 2)), rtol=1e-10, atol=1e-10)


def test_shifts_and_frequencies():
    for n in (4, 5):
        x = np.arange(n * 3.0).reshape(n, 3)
        np.testing.assert_array_equal(sorus.fft.fftshift(sorus.tensor(x)).numpy(), np.fft.fftshift(x))
        np.testing.assert_array_equal(sorus.fft.ifftshift(sorus.tensor(x), 0).numpy(), np.fft.ifftshift(x, 0))
        np.testing.assert_allclose(sorus.fft.fftfreq(n, 0.5).numpy(), np.fft.fftfreq(n, 0.5), rtol=1e-6)
        np.testing.assert_allclose(sorus.fft.rfftfreq(n, 0.5).numpy(), np.fft.rfftfreq(n, 0.5), rtol=1e-6)


def test_gradients():
    x = sorus.tensor(draw(2, 6).real, requires_grad=True)
    weights = sorus.tensor(draw(2, 4).real)
    assert gradcheck(lambda t: (sorus.fft.rfft(t).abs() * weights).sum(), (x,))
    assert gradcheck(lambda t: sorus.fft.irfft(sorus.fft.fft(t, dim=1)[:, :4] * weights, 6), (x,))


def test_bad_arguments():
    x = sorus.ones(4)
    with pytest.raises(RuntimeError, match="norm must be 'forward', 'backward' or 'ortho', not 'both'"):
        sorus.fft.fft(x, norm="both")
    with pytest.raises(RuntimeError, match="at least one element"):
        sorus.fft.fft(x, 0)
    with pytest.raises(RuntimeError, match="rfft: expected real numbers"):
        sorus.fft.rfft(sorus.fft.fft(x))
    with pytest.raises(RuntimeError, match="must differ"):
        sorus.fft.fftn(sorus.ones(2, 2), dim=(0, 0))


def test_windows():
    w = sorus.signal.windows
    for name in ("bartlett", "blackman", "hamming"):
        np.testing.assert_allclose(getattr(w, name)(7).numpy(), getattr(np, name)(7), atol=1e-6)
    np.testing.assert_allclose(w.hann(8).numpy(), np.hanning(8), atol=1e-6)
    np.testing.assert_allclose(w.kaiser(9, beta=5.0).numpy(), np.kaiser(9, 5.0), atol=1e-6)
    np.testing.assert_allclose(w.hann(8, sym=False).numpy(), np.hanning(9)[:8], atol=1e-6)
    np.testing.assert_allclose(w.gaussian(3, std=2.0).numpy(), np.exp([-0.125, 0, -0.125]), rtol=1e-6)
    np.testing.assert_allclose(w.exponential(3, tau=2.0).numpy(), np.exp([-0.5, 0, -0.5]), rtol=1e-6)
    np.testing.assert_allclose(w.cosine(2).numpy(), np.sin([np.pi / 4, 3 * np.pi / 4]), rtol=1e-6)
    for name in ("bartlett", "blackman", "hamming"):
        periodic = getattr(sorus, f"{name}_window")
        np.testing.assert_allclose(periodic(6).numpy(), getattr(np, name)(7)[:6], atol=1e-6)
        np.testing.assert_allclose(periodic(7, periodic=False).numpy(), getattr(np, name)(7), atol=1e-6)
    np.testing.assert_allclose(sorus.hann_window(8, dtype=sorus.float64).numpy(), np.hanning(9)[:8], atol=1e-12)
    np.testing.assert_allclose(sorus.kaiser_window(8, beta=5.0).numpy(), np.kaiser(9, 5.0)[:8], atol=1e-6)
    assert w.hann(0).shape == (0,) and w.hann(1).tolist() == [1.0]
    with pytest.raises(ValueError, match="std must be positive"):
        w.gaussian(4, std=0)
