"""Models that are defined in C++.

model = GPT(vocab_size=65, block_size=64, n_layer=4, n_head=4, n_embd=128)
model = GPT.from_pretrained("path/to/gpt2")
"""

from .gpt import GPT, sample

__all__ = ["GPT", "sample"]
