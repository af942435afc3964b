"""A training run of a GPT: model, optimizer, data, schedule, and its state as one value.

The numbers of a run are a function of its options, its seed and the text. What a checkpoint holds is all that the next
step depends on, so a run that was killed and resumed gives the same losses, to the bit, as one that was not. A run of
--minutes decides by the clock when its learning rate begins to fall, and keeps that decision.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import sorus
from sorus.models import GPT
from sorus.utils.data import DataLoader, Subset, TextDataset
from sorus.utils.memory import memory_statistics

DECAY_SHARE = 0.3  # the learning rate falls in the last part of a run
FLOOR = 0.05  # what is left of it at the end


@dataclass
class Schedule:
    """The learning rate: rises for `warmup` steps, stays, and falls over the steps from `decay_from` to `total`."""

    peak: float
    warmup: int
    total: int = 0  # 0: not known yet
    decay_from: int = 0

    def lr(self, step: int) -> float:
        rate = self.peak * min(1.0, (step + 1) / max(1, self.warmup))
        if self.total and step >= self.decay_from:
            done = (step - self.decay_from) / max(1, self.total - self.decay_from)
            rate *= FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        return rate

    def end_at(self, total: int) -> None:
        self.total, self.decay_from = total, round(total * (1 - DECAY_SHARE))

    def end_after(self, step: int, spent: float, limit: float) -> None:
        """With a limit of seconds: once the time for it has come, fixes how many steps are left."""
        if not self.total and spent >= limit * (1 - DECAY_SHARE):
            left = step * (limit - spent) / spent if step else 1
            self.total, self.decay_from = step + max(1, round(left)), step


@dataclass
class Settings:
    """What the numbers of a run depend on, beside the text."""

    n_layer: int
    n_head: int
    n_embd: int
    context: int
    batch: int
    vocab: int
    lr: float
    warmup: int
    grad_accum: int = 1
    dropout: float = 0.0
    weight_decay: float = 0.1
    clip: float = 1.0
    dtype: str = "float32"
    mode: str = "compiled"
    seed: int = 1337
    val_batches: int = 16
    data: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        kinds: dict[str, Any] = {
            "int": int,
            "float": (int, float),
            "str": str,
            "list[str]": list,
        }  # they may come from a file
        for name, wanted in type(self).__annotations__.items():
            value = getattr(self, name)
            if not isinstance(value, kinds[wanted]):
                raise TypeError(f"settings: {name} is {value!r}, expected {wanted}")


class Training:
    tokenizer: Any

    def __init__(self, settings: Settings, train_tokens, val_tokens, vocab_size: int, arrangement=None) -> None:
        s = self.settings = settings
        self.arrangement = arrangement  # on several devices, or None
        self.plan: dict[str, Any] | None = None  # the planner's report of it
        self.plan_again: Callable[[], dict | None] | None = None  # the same, once the machine was measured again
        sorus.manual_seed(s.seed)
        self.model = GPT(vocab_size, s.context, s.n_layer, s.n_head, s.n_embd, s.dropout)
        matrices = [p for p in self.model.parameters() if p.dim() >= 2]
        vectors = [p for p in self.model.parameters() if p.dim() < 2]
        self.optimizer = sorus.optim.AdamW(
            [{"params": matrices, "weight_decay": s.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
            lr=s.lr, betas=(0.9, 0.95),
        )  # fmt: skip
        self.schedule = Schedule(s.lr, s.warmup)
        self.loader = DataLoader(
            TextDataset(train_tokens, s.context), s.batch, shuffle=True, drop_last=True, seed=s.seed
        )
        if len(self.loader) == 0:
            raise ValueError(
                f"the training text has {train_tokens.shape[0]} tokens, too few for one batch of "
                f"{s.batch} x {s.context}; give more --data, or a smaller --batch or --context"
            )
        self.val_loader = self._validation(val_tokens)
        self.text = {
            "tokens": int(train_tokens.shape[0]),
            "hash": hashlib.blake2b(memoryview(train_tokens.numpy()), digest_size=8).hexdigest(),
        }
        self.moving: list[float] = []  # seconds of each step in which it waited for host memory
        self.step = 0
        self.seconds = 0.0  # of the clock, since the start; the command counts them
        self._batches = self._endless()
        self._make_functions()

    def _validation(self, tokens) -> DataLoader | None:
        """Always the same windows, spread over the text."""
        s = self.settings
        if tokens is None or tokens.shape[0] <= s.context:
            return None
        windows = TextDataset(tokens, s.context)
        count = min(len(windows), s.val_batches * s.batch)
        chosen = Subset(windows, [i * len(windows) // count for i in range(count)])
        return DataLoader(chosen, s.batch, drop_last=count >= s.batch)

    def _make_functions(self) -> None:
        s, model, optimizer = self.settings, self.model, self.optimizer
        parameters = list(model.parameters())
        share = 1.0 / s.grad_accum
        cast = {"bfloat16": sorus.bfloat16, "float16": sorus.float16}.get(s.dtype)
        # float16 loses small gradients, unless the loss is scaled.
        scaler = self.scaler = sorus.amp.GradScaler("cpu", enabled=s.dtype == "float16")

        def forward(x, y):
            if cast is None:
                return model.loss(x, y)
            with sorus.autocast("cpu", dtype=cast):
                return model.loss(x, y)

        def accumulate(x, y):
            loss = forward(x, y) * share
            scaler.scale(loss).backward()
            return loss.detach()

        def update():
            if s.clip > 0:
                scaler.unscale_(optimizer)
                sorus.nn.utils.clip_grad_norm_(parameters, s.clip)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()

        def whole(x, y):
            loss = forward(x, y)
            scaler.scale(loss).backward()
            update()
            return loss.detach()

        def evaluate(x, y):
            with sorus.no_grad():
                return forward(x, y)

        wrap = sorus.compile if s.mode == "compiled" else lambda f: f
        self._accumulate, self._update, self._evaluate = map(wrap, (accumulate, update, evaluate))
        self._whole = self._on_several(whole) if self.arrangement else wrap(whole)

    def _on_several(self, step):
        from sorus.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

        a = self.arrangement
        mesh = a.mesh()
        if a.marks is not None:
            a.mark(self.model, mesh)
        elif a.tp > 1:
            columns, rows = ColwiseParallel(), RowwiseParallel()
            parallelize_module(self.model, mesh["tp"], {
                "h.*.attn.c_attn": columns, "h.*.attn.c_proj": rows, "h.*.mlp.c_fc": columns, "h.*.mlp.c_proj": rows,
            })  # fmt: skip
        return sorus.compile(step, mesh=mesh, **a.options(self.model))

    def _endless(self) -> Iterator:
        while True:
            yield from self.loader

    def train_step(self) -> float:
        """One step of the optimizer; the mean loss of its tokens before it."""
        rate = self.schedule.lr(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        before = memory_statistics()
        if self.settings.grad_accum == 1:
            loss = self._whole(*next(self._batches)).item()
        else:
            loss = 0.0
            for _ in range(self.settings.grad_accum):
                loss += self._accumulate(*next(self._batches)).item()
            self._update()
        if before and (after := memory_statistics()):
            self.moving.append(after["waited"] - before["waited"])
        self.step += 1
        return loss

    def step_left_out(self) -> bool:
        """Whether a loss that is not finite was an overflow of float16: the step was left out and the scale shrinks."""
        return self.scaler.is_enabled() and self.scaler.get_scale() >= 1.0

    def validate(self) -> float | None:
        """The mean loss of the validation windows; nothing without validation text."""
        if self.val_loader is None:
            return None
        self._gather()
        self.model.eval()
        losses = [self._evaluate(x, y).item() for x, y in self.val_loader]
        return sum(losses) / len(losses)

    def rank_memory(self) -> dict[str, int] | None:
        """On several devices: bytes of rank 0 when it is fullest, by kind, as its program has them planned; `measured`: what
        it held in the last step."""
        if not self.arrangement or not self.step:
            return None
        return self._whole.rank_memory() | {"measured": self._whole.measured_memory()}

    def _gather(self) -> None:
        if self.arrangement:
            self._whole.gather()

    def offloaded(self) -> dict[str, float] | None:
        """With a memory limit: its statistics, and how long a step waits for host memory, as predicted from the bytes that
        the recorded step must move, those that come in while it computes, and this machine's speed of doing so."""
        from sorus._core import _machine

        found = memory_statistics()
        if found is None:
            return None
        functions = (self._whole,) if self.settings.grad_accum == 1 else (self._accumulate, self._update)
        times = (1,) if self.settings.grad_accum == 1 else (self.settings.grad_accum, 1)
        moved = sum(n * f.report()["moved_bytes"] for n, f in zip(times, functions, strict=True))
        measured = sorted(self.moving)[len(self.moving) // 2] if self.moving else 0.0
        rate = _machine.host_memory_rate()
        computing = self.plan["step_time_s"] if self.plan else 0.0  # not known: nothing is hidden behind it
        waits = sum(n * f.predicted_wait(computing, rate) for n, f in zip(times, functions, strict=True))
        return found | {"moved_bytes_a_step": moved, "predicted_s_a_step": waits, "measured_s_a_step": measured}

    @property
    def tokens_per_step(self) -> int:
        s = self.settings
        return s.batch * s.context * s.grad_accum

    def flops_per_token(self) -> float:
        """Products and sums of forward and backward: 6 a weight of a matrix, and attention's, of which a causal model
        needs half."""
        s = self.settings
        weights = self.model.num_parameters() - s.context * s.n_embd  # positions are added, not multiplied
        return 6.0 * weights + 6.0 * s.n_layer * s.n_embd * s.context

    def state(self) -> dict:
        self._gather()
        return {
            "kind": "gpt",
            "step": self.step,
            "seconds": self.seconds,
            "settings": vars(self.settings),
            "config": self.model.config,
            "schedule": vars(self.schedule),
            "loader": self.loader.state_dict(),
            "text": self.text,
            "generator": sorus.get_rng_state(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load(self, state: dict) -> None:
        if state["text"] != self.text:
            raise ValueError(
                f"the training text is not that of the checkpoint: it had {state['text']['tokens']} tokens "
                f"(hash {state['text']['hash']}), now there are {self.text['tokens']} "
                f"({self.text['hash']}); give the same --data"
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])
        self.loader.load_state_dict(state["loader"])
        self._batches = self._endless()
        sorus.set_rng_state(state["generator"])
        self.schedule = Schedule(**state["schedule"])
        self.step, self.seconds = state["step"], state["seconds"]
