"""The same GPT-2 and AdamW as gpt.py, as one jitted function of JAX."""

import math
import sys
from functools import partial

import jax
import jax.numpy as jnp
from gpt_setup import PRESETS, Text, adamw, initial_weights


def linear(p, name, x):
    return x @ p[f"{name}.weight"].T.astype(x.dtype) + p[f"{name}.bias"].astype(x.dtype)


def norm(p, name, x):
    wide = x.astype(jnp.float32)
    mean = wide.mean(-1, keepdims=True)
    variance = ((wide - mean) ** 2).mean(-1, keepdims=True)
    return (wide - mean) * jax.lax.rsqrt(variance + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]


def loss_of(p, ids, targets, c, dtype):
    x = p["wte.weight"][ids] + p["wpe.weight"][: ids.shape[1]]
    mask = jnp.tril(jnp.ones((ids.shape[1], ids.shape[1]), bool))
    for i in range(c.layers):
        y = linear(p, f"h.{i}.attn.c_attn", norm(p, f"h.{i}.ln_1", x).astype(dtype))
        q, k, v = (t.reshape(*ids.shape, c.heads, -1).transpose(0, 2, 1, 3) for t in jnp.split(y, 3, -1))
        scores = (q @ k.transpose(0, 1, 3, 2)).astype(jnp.float32) / math.sqrt(c.width // c.heads)
        weights = jax.nn.softmax(jnp.where(mask, scores, -jnp.inf), -1).astype(dtype)
        y = (weights @ v).transpose(0, 2, 1, 3).reshape(*ids.shape, c.width)
        x = x + linear(p, f"h.{i}.attn.c_proj", y)
        y = jax.nn.gelu(linear(p, f"h.{i}.mlp.c_fc", norm(p, f"h.{i}.ln_2", x).astype(dtype)), approximate=True)
        x = x + linear(p, f"h.{i}.mlp.c_proj", y)
    logits = (norm(p, "ln_f", x).astype(dtype) @ p["wte.weight"].T.astype(dtype)).astype(jnp.float32)
    picked = jnp.take_along_axis(logits, targets[..., None], -1)[..., 0]
    return (jax.nn.logsumexp(logits, -1) - picked).mean()


@partial(jax.jit, static_argnames=("c", "dtype"), donate_argnums=(0,))
def train_step(state, ids, targets, c, dtype):
    parameters, first, second, t = state
    loss, gradients = jax.value_and_grad(loss_of)(parameters, ids, targets, c, dtype)
    t = t + 1
    b1, b2 = adamw["betas"]
    correction1, correction2 = 1 - b1**t, 1 - b2**t
    for name, g in gradients.items():
        first[name] = b1 * first[name] + (1 - b1) * g
        second[name] = b2 * second[name] + (1 - b2) * g * g
        update = first[name] / correction1 / (jnp.sqrt(second[name] / correction2) + adamw["eps"])
        parameters[name] = parameters[name] * (1 - adamw["lr"] * adamw["weight_decay"]) - adamw["lr"] * update
    return (parameters, first, second, t), loss


class Program:
    """See gpt.Program; the mode is always compiled."""

    def __init__(self, preset="nano", dtype="fp32", mode="compiled", seed=0):
        self.config = PRESETS[preset]
        self.dtype = "bfloat16" if dtype == "bf16" else "float32"
        self.text = Text(self.config.vocabulary)
        parameters = {name: jnp.asarray(value) for name, value in initial_weights(self.config, seed)}
        self.state = (
            parameters,
            {k: jnp.zeros_like(v) for k, v in parameters.items()},
            {k: jnp.zeros_like(v) for k, v in parameters.items()},
            jnp.float32(0),
        )

    def step(self, i):
        ids, targets = self.text.batch(i, self.config.batch, self.config.context)
        self.state, loss = train_step(
            self.state, ids.astype("int32"), targets.astype("int32"), self.config, self.dtype
        )
        return loss

    def sync(self):
        jax.block_until_ready(self.state)


if __name__ == "__main__":
    program = Program(*sys.argv[1:])
    for i in range(20):
        print(f"jax step {i} loss {program.step(i).item():.5f}")
