"""Runs in the peers' environment: makes GPT-2 models and tokenizers with transformers, and reads ours.

python gpt2.py make FOLDER          a model as the library initialises and saves it, ids and its logits
python gpt2.py read FOLDER          the logits of a folder for FOLDER/ids.npy
"""

import sys
from pathlib import Path

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel


def logits(model, ids: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model.eval()(torch.from_numpy(ids)).logits.float().numpy()


def make(folder: Path) -> None:
    from tokenizers import ByteLevelBPETokenizer

    torch.manual_seed(1)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=320, n_positions=48, n_embd=64, n_layer=3, n_head=4))
    for p in model.parameters():  # as initialised, biases are zero and norms one: nothing that could be confused
        p.data += 0.1 * torch.randn_like(p)
    model.save_pretrained(folder)
    tokenizer = ByteLevelBPETokenizer()
    text = "Sorus reads what others publish: weights, configurations, tokenizers. " * 20
    tokenizer.train_from_iterator([text], vocab_size=320, special_tokens=["<|endoftext|>"], show_progress=False)
    tokenizer.save(str(folder / "tokenizer.json"))
    ids = np.random.default_rng(2).integers(0, 320, (2, 48))
    np.save(folder / "ids.npy", ids)
    np.save(folder / "logits.npy", logits(model, ids))
    np.save(folder / "encoded.npy", np.array(tokenizer.encode("weights, and tökens <|endoftext|>!").ids))


def read(folder: Path) -> None:
    model = GPT2LMHeadModel.from_pretrained(folder)
    np.save(folder / "logits.npy", logits(model, np.load(folder / "ids.npy")))


{"make": make, "read": read}[sys.argv[1]](Path(sys.argv[2]))
