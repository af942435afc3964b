"""The MLP of mlp.py as one jitted function of JAX."""

from functools import partial

import jax
import jax.numpy as jnp
from mlp_setup import initial_weights, pictures


def loss_of(p, x, y):
    h = jax.nn.relu(x @ p["hidden.weight"].T + p["hidden.bias"])
    logits = h @ p["out.weight"].T + p["out.bias"]
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], -1).mean()


@partial(jax.jit, donate_argnums=(0,))
def train_step(p, x, y):
    loss, gradients = jax.value_and_grad(loss_of)(p, x, y)
    return {name: p[name] - 0.01 * g for name, g in gradients.items()}, loss


class Program:
    def __init__(self, mode="compiled"):
        self.parameters = {name: jnp.asarray(value) for name, value in initial_weights()}
        x, y = pictures()
        self.data = [(jnp.asarray(x[i : i + 1]), jnp.asarray(y[i : i + 1].astype("int32"))) for i in range(len(x))]

    def step(self, i):
        self.parameters, loss = train_step(self.parameters, *self.data[i % len(self.data)])
        return loss

    def sync(self):
        jax.block_until_ready(self.parameters)
