"""GPT-2: pre-norm transformer, learned positions, head tied to the token embedding."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .. import _core
from .._core._models import sample
from .._core._nn import GPT as _GPT
from ..autograd import no_grad
from ..nn import Module  # noqa: F401 - makes modules callable


class GPT(_GPT):
    """Token ids [batch, time] to logits [batch, time, vocab_size].

    vocab_size, block_size (the longest context), n_layer, n_head, n_embd are sizes; `dropout` a probability; without
    `bias`, linear layers and norms have none.
    """

    def __init__(
        self,
        vocab_size: int = 50257,
        block_size: int = 1024,
        n_layer: int = 12,
        n_head: int = 12,
        n_embd: int = 768,
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__(vocab_size, block_size, n_layer, n_head, n_embd, dropout, bias)
        self.config = {
            "vocab_size": vocab_size,
            "block_size": block_size,
            "n_layer": n_layer,
            "n_head": n_head,
            "n_embd": n_embd,
            "dropout": dropout,
            "bias": bias,
        }

    @classmethod
    def from_pretrained(cls, folder) -> GPT:
        """The model of a folder as the transformers library publishes GPT-2 (config.json, model.safetensors), or as
        save_pretrained wrote it. In evaluation mode. OSError if a file is missing, damaged, or of another model."""
        folder = Path(folder)
        model = cls(**_core._models.read_gpt2_config(folder))
        _core._models.load_gpt2_weights(model, folder)
        return model.eval()

    def save_pretrained(self, folder) -> None:
        """Writes what from_pretrained and the transformers library read."""
        _core._models.save_gpt2(self, Path(folder))

    def generate(
        self, ids: list[int], max_new_tokens: int, temperature: float = 1.0, top_k: int = 0, generator=None
    ) -> Iterator[int]:
        """New tokens one by one, each drawn given `ids` and those before it (the last block_size of them).

        temperature 0 takes the most likely one; top_k 0 draws from all. The model's mode is not changed: call eval()
        before if it has dropout.
        """
        if not ids:
            raise ValueError("generate: expected at least one token to go on from")
        ids = list(ids)
        cache = _core._nn.GPTCache() if type(self).forward is _GPT.forward else None
        for _ in range(max_new_tokens):
            with no_grad():
                if cache is not None and len(ids) <= self.config["block_size"]:
                    logits = self.forward(_core.tensor([ids[len(cache) :]]), cache)
                else:
                    logits = self(_core.tensor([ids[-int(self.config["block_size"]) :]]))
                token = sample(logits[0, -1], temperature, top_k, generator)
            ids.append(token)
            yield token
