"""Gradient descent of one-input ReLU nets: the reduced dynamics against the full nets.

All contestants take the same steps of the same nets, from He's start without biases, on six
weighted examples, and ask after every step whether a kink has crossed (|b| has come to |a|, or a
unit has changed its side). The full nets are run as
the library runs any net, side by side in one compiled program, and in NumPy, one array operation
after the other, as in the authors' code. Before they are timed they are held against each other.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from timing import clock_for, interleaved, limit_threads, machine, noise, options, show

from thalweg.theory.relu_nets.kink_dynamics import KinkDynamics, kink_dynamics
from thalweg.theory.relu_nets.one_input import OneInputNet, he_net, one_input_data

X = np.array([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0])
Y = np.array([-1.0, 2.0, -1.0, 1.0, -2.0, 1.0])


def drawn(width: int, runs: int) -> KinkDynamics:
    rng = np.random.default_rng(0)
    net = he_net(rng, width, (runs,))
    counts = rng.multinomial(width**2, np.ones(6) / 6, size=runs)
    return kink_dynamics(net, one_input_data(X, Y, counts))


@jax.jit
def compiled(params: tuple, p: jax.Array, h: jax.Array, steps: jax.Array) -> tuple:
    """The full nets in JAX: automatic gradients, all nets in one loop."""

    def loss(net: tuple, p: jax.Array) -> jax.Array:
        a, b, w, c = net
        f = jax.nn.relu(X[:, None] * a + b) @ w + c
        return 0.5 * jnp.sum(p * (Y - f) ** 2)

    def step(_: int, now: tuple) -> tuple:
        net, crossed = now
        slope = jax.vmap(jax.grad(loss))(net, p)
        go = jnp.where(crossed, 0, h)
        net = jax.tree.map(lambda v, g: v - go.reshape(-1, *[1] * (g.ndim - 1)) * g, net, slope)
        return net, crossed | jnp.any(jnp.abs(net[1]) >= side * net[0], axis=1)

    side = jnp.sign(params[0])
    return jax.lax.fori_loop(0, steps, step, (params, jnp.zeros(len(h), bool)))


def in_numpy(runs: KinkDynamics, steps: int) -> tuple[OneInputNet, np.ndarray]:
    """The full nets with gradients by hand."""
    a, b, w, c = (np.array(v) for v in runs.net)
    crossed, side = np.zeros(len(c), bool), np.sign(a)
    for _ in range(steps):
        z = a[:, None] * X[:, None] + b[:, None]
        on = z > 0
        active = z * on
        r = runs.data.p * (np.einsum("rji,ri->rj", active, w) + c[:, None] - Y)
        h = (runs.step_size * ~crossed)[:, None]
        pull = r[..., None] * on
        da, db = w * np.einsum("rji,j->ri", pull, X), w * pull.sum(1)
        w = w - h * np.einsum("rj,rji->ri", r, active)
        a, b, c = a - h * da, b - h * db, c - h[:, 0] * r.sum(1)
        crossed |= np.any(np.abs(b) >= side * a, axis=1)
    return OneInputNet(a, b, w, c), crossed


def row(width: int, runs: int, steps: int, rounds: int, clock: object) -> list[str]:
    reduced = drawn(width, runs)
    start = tuple(jnp.asarray(v) for v in reduced.net)
    p, h = jnp.asarray(reduced.data.p), jnp.asarray(reduced.step_size)
    agree(reduced, compiled(start, p, h, jnp.asarray(20)), in_numpy(reduced, 20))
    many = 100 * steps
    seconds = interleaved(
        {
            "reduced": lambda: reduced.advance(reduced.start, many),
            "jax": lambda: jax.block_until_ready(compiled(start, p, h, jnp.asarray(steps))),
            "numpy": lambda: in_numpy(reduced, steps),
        },
        rounds,
        clock,  # type: ignore[arg-type]
    )
    each = {
        name: np.median(found) / (runs * (many if name == "reduced" else steps))
        for name, found in seconds.items()
    }
    ratios = [each[name] / each["reduced"] for name in ("jax", "numpy")]
    return [
        f"{runs} runs, n = {width}",
        *(f"{1e9 * each[name]:,.0f}" for name in ("reduced", "jax", "numpy")),
        *(f"{ratio:.0f}" for ratio in ratios),
        f"{200 * width * runs * each['reduced']:.1f}",
        f"{max(map(noise, seconds.values())):.0%}",
    ]


def agree(reduced: KinkDynamics, one: tuple, other: tuple) -> None:
    """All three have the same nets after the same steps."""
    state = reduced.advance(reduced.start, 20)
    mine = reduced.net_at(state)
    for net, crossed in (one, other):
        np.testing.assert_array_equal(state.crossed, crossed)
        for m, t in zip(mine, net, strict=True):
            np.testing.assert_allclose(m, t, atol=1e-11)


def main() -> None:
    asked = options(__doc__)
    limit_threads(asked.threads)
    jax.config.update("jax_enable_x64", True)
    sizes = [(16, 20)] if asked.quick else [(16, 1000), (256, 1000)]
    rounds, steps = (1, 4) if asked.quick else (3, 20)
    clock = clock_for(asked.threads)
    rows = [row(width, runs, steps, rounds, clock) for width, runs in sizes]
    show(
        f"Nanoseconds a step and run; {machine(asked.threads)}",
        ["", "reduced", "full, JAX", "full, NumPy", "ratio", "ratio", "s for 200 n", "noise"],
        rows,
    )


if __name__ == "__main__":
    main()
