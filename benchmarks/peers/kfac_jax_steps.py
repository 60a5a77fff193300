"""kfac-jax on the autoencoder of `kfac.py`, in an environment of its own; prints JSON.

    python benchmarks/peers/kfac_jax_steps.py images-and-start.npz ITERATIONS

kfac-jax 0.0.8 fails at its first step on the JAX that thalweg needs, and runs on 0.9.0. Its damping
is the best found by hand: 0.1 at the start, decay 0.9. `kfac.py` calls this where KFAC_JAX_PYTHON
names the Python of an environment with `jax==0.9.0` and `kfac-jax==0.0.8`.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import kfac_jax
import numpy as np


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    given, count = np.load(sys.argv[1]), int(sys.argv[2])
    images, decay = jnp.asarray(given["images"]), float(given["decay"])
    layers = sum(name.startswith("weight") for name in given)
    # Weights on the right: those of `z @ W.T` are not found to be dense layers.
    params: Any = [(jnp.asarray(given[f"weight{i}"]).T, given[f"bias{i}"]) for i in range(layers)]
    params = jax.tree.map(jnp.asarray, params)

    def objective(params: Any, x: Any) -> Any:
        z = x
        for i, (W, b) in enumerate(params):
            z = z @ W + b
            if i + 1 not in (layers // 2, layers):
                z = jnp.tanh(z)
        kfac_jax.register_multi_bernoulli_predictive_distribution(z, x)
        entropy = jnp.maximum(z, 0) - z * x + jnp.log1p(jnp.exp(-jnp.abs(z)))
        squares = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))
        return jnp.mean(jnp.sum(entropy, axis=1)) + decay / 2 * squares

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    begun = time.process_time()
    optimiser = kfac_jax.Optimizer(
        value_and_grad_func=jax.value_and_grad(objective), l2_reg=decay,
        use_adaptive_learning_rate=True, use_adaptive_momentum=True, use_adaptive_damping=True,
        initial_damping=0.1, damping_adaptation_decay=0.9, damping_adaptation_interval=5,
        min_damping=1e-8, num_burnin_steps=0, multi_device=False, inverse_update_period=1,
        estimation_mode="fisher_gradients",
    )  # fmt: skip
    key = jax.random.PRNGKey(0)
    state, h, seconds = optimiser.init(params, key, images), [], [0.0]
    for k in range(count):
        own = jax.random.fold_in(key, k)
        params, state, told = optimiser.step(params, state, own, batch=images, global_step_int=k)
        h.append(float(told["loss"]))
        seconds.append(time.process_time() - begun)
    h.append(float(objective(params, images)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"h": h, "seconds": seconds, "megabytes": peak - before}))


if __name__ == "__main__":
    main()
