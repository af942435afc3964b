"""GPT-2 folders: what transformers saves gives its logits here, and what we save gives ours there; wrong folders."""

import functools
import json
import subprocess
from pathlib import Path

import numpy as np
import peers
import pytest
from sorus.io.safetensors import load_file, save_file

import sorus
from sorus.data import load_tokenizer
from sorus.models import GPT, sample

SCRIPT = Path(__file__).parent / "gpt2_peer.py"


@functools.cache
def peer() -> str | None:
    python = peers.peer_python()
    if (
        python
        and subprocess.run([python, "-c", "import transformers, tokenizers"], capture_output=True).returncode == 0
    ):
        return python
    return None


needs_peer = pytest.mark.skipif(peer() is None, reason="needs transformers: SORUS_PEERS=a Python that has it")


def run_peer(what: str, folder: Path) -> None:
    done = subprocess.run([str(peer()), SCRIPT, what, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def logits(model: GPT, ids: np.ndarray) -> np.ndarray:
    with sorus.no_grad():
        return model(sorus.from_numpy(ids)).numpy()


@needs_peer
def test_logits_of_what_transformers_saves(tmp_path: Path) -> None:
    run_peer("make", tmp_path)
    expected, ids = np.load(tmp_path / "logits.npy"), np.load(tmp_path / "ids.npy")
    model = GPT.from_pretrained(tmp_path)
    assert not model.training and model.config["n_layer"] == 3
    np.testing.assert_allclose(logits(model, ids), expected, atol=1e-4, rtol=0)
    tokenizer = load_tokenizer(tmp_path / "tokenizer.json")
    assert tokenizer.encode("weights, and tökens <|endoftext|>!") == np.load(tmp_path / "encoded.npy").tolist()
    # Files without the prefix, as GPT-2 itself is published, with its masks and a head that is the embedding.
    tensors = {name.removeprefix("transformer."): t for name, t in load_file(tmp_path / "model.safetensors").items()}
    tensors["h.0.attn.bias"] = sorus.ones(1, 1, 48, 48)
    tensors["lm_head.weight"] = tensors["wte.weight"].clone()
    save_file(tensors, tmp_path / "model.safetensors")
    np.testing.assert_allclose(logits(GPT.from_pretrained(tmp_path), ids), expected, atol=1e-4, rtol=0)


@needs_peer
def test_transformers_reads_what_we_save(tmp_path: Path) -> None:
    model = small_model()
    model.save_pretrained(tmp_path)
    ids = np.random.default_rng(1).integers(0, 50, (2, 12))
    np.save(tmp_path / "ids.npy", ids)
    run_peer("read", tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), logits(model, ids), atol=1e-4, rtol=0)


def small_model() -> GPT:
    sorus.manual_seed(1)
    return GPT(vocab_size=50, block_size=12, n_layer=2, n_head=2, n_embd=8).eval()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    small_model().save_pretrained(tmp_path)
    return tmp_path


def test_round_trip(saved: Path) -> None:
    ids = np.random.default_rng(1).integers(0, 50, (2, 12))
    assert (logits(GPT.from_pretrained(saved), ids) == logits(small_model(), ids)).all()
    stored = load_file(saved / "model.safetensors")
    assert stored["transformer.h.0.mlp.c_fc.weight"].shape == (8, 32)  # Conv1D: [in, out]


def fails(folder: Path) -> str:
    with pytest.raises(OSError) as error:
        GPT.from_pretrained(folder)
    return str(error.value)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"model_type": "llama"}, '\'model_type\' is "llama", which is not supported, expected "gpt2"'),
        ({"activation_function": "relu"}, "'activation_function' is \"relu\""),
        ({"n_layer": 2**31}, "'h.2.mlp.c_fc.weight' is missing"),
        ({"vocab_size": 2**31, "n_positions": 2**31}, "'wte.weight': expected [2147483648, 8] by config.json"),
        ({"n_embd": 9}, "'n_embd' 9 is not a multiple of 'n_head' 2"),
        ({"n_layer": -1}, "'n_layer': expected a number from 1"),
        ({"n_layer": "2"}, "'n_layer': expected a number from 1"),
        ({"n_layer": None}, "'n_layer'"),
        ({"n_inner": 5}, "'n_inner' 5 is not supported, expected 4 * n_embd = 32"),
        ({"tie_word_embeddings": False}, "'tie_word_embeddings' is false"),
        ({"n_layer": 3}, "'h.2.mlp.c_fc.weight' is missing, which config.json promises"),
        ({"n_positions": 13}, "'wpe.weight': expected [13, 8] by config.json, found [12, 8]"),
        ({"resid_pdrop": 2}, "'resid_pdrop': expected a number in [0, 1)"),
    ],
)
def test_wrong_configurations(saved: Path, change: dict, message: str) -> None:
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, **change}))
    error = fails(saved)
    assert message in error and str(saved) in error


def test_wrong_weights(saved: Path) -> None:
    path = saved / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    assert "reach outside" in fails(saved)
    path.write_bytes(whole)
    tensors = load_file(path)
    tensors = {name: t.clone() for name, t in tensors.items()}
    save_file({**tensors, "wte.weight": tensors["transformer.wte.weight"]}, path)
    assert "wte.weight is there twice" in fails(saved)
    save_file({**tensors, "lm_head.weight": tensors["transformer.wte.weight"] + 1}, path)
    assert "only a tied head is supported" in fails(saved)
    save_file({**tensors, "transformer.extra": sorus.ones(1)}, path)
    assert "1 unexpected: 'extra'" in fails(saved)
    save_file({**tensors, "transformer.h.0.attn.c_attn.weight": sorus.ones(3)}, path)
    assert "expected two dimensions, found [3]" in fails(saved)
    path.unlink()
    (saved / "pytorch_model.bin").write_bytes(b"")
    assert "pytorch_model.bin is a pickle" in fails(saved)
    (saved / "config.json").write_text("{")
    assert "config.json" in fails(saved)


def test_sampling() -> None:
    x = sorus.tensor([0.0, 3.0, 2.0, float("-inf"), float("nan")])
    assert sample(x, temperature=0) == 1
    g = sorus.Generator()
    g.manual_seed(1)
    counts = [0] * 5
    for _ in range(4000):
        counts[sample(x, generator=g)] += 1
    weights = np.exp([0.0, 3.0, 2.0])
    np.testing.assert_allclose(np.array(counts[:3]) / 4000, weights / weights.sum(), atol=0.03)
    assert counts[3:] == [0, 0]
    assert {sample(x, top_k=2, temperature=5.0, generator=g) for _ in range(200)} == {1, 2}
    with pytest.raises(ValueError, match="temperature -1"):
        sample(x, temperature=-1)
    with pytest.raises(RuntimeError, match="all logits are NaN"):
        sample(sorus.tensor([float("nan")]))
    with pytest.raises(ValueError, match="logits of one token"):
        sample(sorus.ones(2, 2))


def test_a_cache_gives_the_same_logits() -> None:
    model, ids = small_model(), np.random.default_rng(1).integers(0, 50, (2, 12))
    expected, cache, parts = logits(model, ids), sorus._core._nn.GPTCache(), []
    with sorus.no_grad():
        for begin, end in ((0, 4), (4, 5), (5, 9), (9, 12)):
            parts.append(model.forward(sorus.from_numpy(ids[:, begin:end].copy()), cache).numpy())
            assert len(cache) == end
        np.testing.assert_allclose(np.concatenate(parts, 1), expected, atol=1e-5)
        with pytest.raises(ValueError, match="13 tokens are more than block_size 12"):
            model.forward(sorus.tensor([[1], [2]]), cache)


def test_generating() -> None:
    model = small_model()
    first = list(model.generate([1, 2], 30, temperature=0))  # beyond the context of 12
    ids = [1, 2]
    for _ in range(30):
        ids.append(int(logits(model, np.array([ids[-12:]]))[0, -1].argmax()))
    assert first == ids[2:]
    with pytest.raises(ValueError, match="at least one token"):
        next(model.generate([], 1))
