"""What all MLPs of the benchmark share, whatever the framework: first weights and data. NumPy only."""

import numpy as np


def initial_weights(seed=0):
    random = np.random.RandomState(seed)
    for name, outputs, inputs in (("hidden", 128, 784), ("out", 10, 128)):
        yield f"{name}.weight", (random.uniform(-1, 1, (outputs, inputs)) / inputs**0.5).astype(np.float32)
        yield f"{name}.bias", np.zeros(outputs, np.float32)


def pictures(count=1000, seed=1):
    """Ten blurred prototypes with noise: something that can be learnt, without a download."""
    random = np.random.RandomState(seed)
    prototypes = random.uniform(0, 1, (10, 784))
    labels = random.randint(0, 10, count)
    return (prototypes[labels] + random.normal(0, 0.3, (count, 784))).astype(np.float32), labels.astype(np.int64)
