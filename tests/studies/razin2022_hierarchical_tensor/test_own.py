"""The study of tensor factorisations: what is its own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from thalweg.problems import supervised
from thalweg.studies import study_named
from thalweg.studies.razin2022_hierarchical_tensor.locality import BATCH, LOSS, Epochs


def test_the_full_scale_asks_for_more():
    sizes = {n: e.sizes for n, e in study_named("razin2022").experiments.items() if e.sizes}
    full = {name: getattr(size["full"], "draws", None) for name, size in sizes.items()}
    assert full.pop("X1-draws") == full.pop("X2-draws") == 40
    assert full.pop("X5") is None
    assert sizes["X5"]["full"].seeds == 10
    assert set(full) == {"X1", "X2", "X3", "X4", "ranks", "regulariser"}
    assert set(full.values()) == {20}


def test_an_epoch_meets_every_example_once():
    """Against plain Optax over the same order; the order is that of the step's key."""
    from thalweg.models import linear

    x = jax.random.normal(jax.random.key(0), (3 * BATCH, 4))
    problem = supervised(linear([]), (x, jnp.sign(x[:, :1])), LOSS)
    transform = optax.sgd(0.1, momentum=0.9)
    epochs = Epochs(optax.with_extra_args_support(transform), jnp.asarray(0.1), "SGD")
    start, key = problem.init(jax.random.key(1)), jax.random.key(2)
    after, _ = epochs.step(problem, epochs.init(problem, start), key)
    params, memory = start, transform.init(start)
    for rows in jax.random.permutation(key, len(x)).reshape(-1, BATCH):
        update, memory = transform.update(jax.grad(problem.on(rows).objective)(params), memory)
        params = optax.apply_updates(params, update)
    np.testing.assert_allclose(after.params[0]["weight"], params[0]["weight"], rtol=1e-12)
    assert int(after.step) == 1
