"""Trains a small GPT on text and writes with it; train_gpt.cpp is the same program in C++.

python train_gpt.py FOLDER [STEPS] [RUN]      a run that was stopped goes on where its newest checkpoint is
"""

import sys

import sorus
from sorus.data import DataLoader, TextDataset, load_text
from sorus.io import CheckpointFolder
from sorus.models import GPT

folder, steps, run = [*sys.argv[1:], *["/usr/lib/python3.11", "300", "out/example"][len(sys.argv) - 1 :]]

text = load_text([folder], vocab_size=1024)
loader = DataLoader(TextDataset(text.train, context=64), batch_size=12, shuffle=True, drop_last=True, seed=1)

sorus.manual_seed(1)
model = GPT(vocab_size=text.tokenizer.vocab_size, block_size=64, n_layer=4, n_head=4, n_embd=128)
optimizer = sorus.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
checkpoints, step = CheckpointFolder(run), 0
if path := checkpoints.latest():
    state = sorus.load(path)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    loader.load_state_dict(state["loader"])
    step = state["step"]


@sorus.compile
def train(ids, targets):
    loss = model.loss(ids, targets)
    loss.backward()
    sorus.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()


while step < int(steps):
    for ids, targets in loader:
        loss = train(ids, targets)
        step += 1
        if step % 10 == 0:
            print(f"step {step} loss {loss.item():.4f}", flush=True)
        if step % 100 == 0 or step == int(steps):
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            checkpoints.save(step, {**state, "loader": loader.state_dict(), "step": step})
        if step == int(steps):
            break

generator = sorus.Generator().manual_seed(1)
ids = text.tokenizer.encode("def ")
print(text.tokenizer.decode([*ids, *model.generate(ids, 100, temperature=0.8, generator=generator)]))
