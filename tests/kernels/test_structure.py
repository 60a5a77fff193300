"""Which weights are met once, as one vector, and that their Jacobians are then outer products."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.kernels.structure import evaluate_structure, find_structure

X = jnp.asarray([0.3, -1.2, 0.7])
SQUARE = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3)))
TALL = jnp.asarray(np.random.default_rng(1).normal(size=(4, 3)))
BIAS = jnp.asarray([0.1, -0.2, 0.4])

# A function of (leaves, x), its leaves, and which of them are met: "matrix" or "bias".
CASES = {
    "dense": (lambda p, x: jnp.tanh(p[0] @ x + p[1]), [SQUARE, BIAS], {0: "matrix", 1: "bias"}),
    "the other side": (lambda p, x: jnp.tanh(x[None] @ p[0])[0], [SQUARE], {0: "matrix"}),
    "skipped past": (lambda p, x: x + jnp.tanh(p[0] @ x), [SQUARE], {0: "matrix"}),
    "added to a skip": (lambda p, x: jnp.sin(x + p[0] @ x), [SQUARE], {0: "matrix"}),
    "reshaped": (lambda p, x: p[0].reshape(3, 3) @ jnp.sin(x), [SQUARE.ravel()], {0: "matrix"}),
    "two layers": (
        lambda p, x: p[1] @ jax.nn.relu(p[0] @ x),
        [TALL, TALL.T],
        {0: "matrix", 1: "matrix"},
    ),
    "met twice": (lambda p, x: p[0] @ jnp.tanh(p[0] @ x), [SQUARE], {}),
    "product of matrices": (lambda p, x: p[1] @ p[0] @ x, [SQUARE, SQUARE.T], {}),
    "two vectors": (lambda p, x: (jnp.stack([x, x**2]) @ p[0]).sum(0), [SQUARE], {}),
    "outer with a vector": (lambda p, x: jnp.outer(p[0] @ x, x)[0], [SQUARE], {0: "matrix"}),
    "contracted whole": (
        lambda p, x: jnp.tensordot(p[0], jnp.outer(x, x))[None],
        [SQUARE],
        {},
    ),
    "one of a batch": (
        lambda p, x: jnp.einsum("bij,bj->bi", p[0], x[None])[0],
        [SQUARE[None]],
        {},
    ),
    "scaled": (lambda p, x: (2 * p[0]) @ x, [SQUARE], {}),
    "repeated bias": (lambda p, x: (jnp.outer(x, x) + p[0]).sum(1), [BIAS], {}),
    "bias of several places": (
        lambda p, x: jnp.tanh(jnp.outer(x, x) + p[0][:, None]).sum(1),
        [BIAS],
        {},
    ),
    "bias that is squared": (lambda p, x: x + p[0] * p[0], [BIAS], {}),
    "bias used twice": (lambda p, x: jnp.sin(x + p[0]) + p[0], [BIAS], {}),
    "subtracted": (lambda p, x: x - p[0], [BIAS], {}),
    "inside another program": (lambda p, x: jax.jit(lambda w: w @ x)(p[0]), [SQUARE], {}),
    "unused": (lambda p, x: jnp.sin(x), [SQUARE], {}),
}


@pytest.mark.parametrize("case", CASES)
def test_exactly_those_are_found(case):
    outputs, leaves, expected = CASES[case]
    met = find_structure(outputs, leaves, X).met
    assert {i: "bias" if m.vector is None else "matrix" for i, m in met.items()} == expected


@pytest.mark.parametrize("case", [name for name, (*_, expected) in CASES.items() if expected])
def test_the_jacobians_are_outer_products(case):
    outputs, leaves, _ = CASES[case]
    structure = find_structure(outputs, leaves, X)
    zeros = [jnp.zeros(tap.aval.size) for tap in structure.taps]
    value, vectors = evaluate_structure(structure, leaves, X, zeros)
    assert np.allclose(value, outputs(leaves, X), rtol=1e-15)
    sent = jax.jacrev(lambda added: evaluate_structure(structure, leaves, X, added)[0])(zeros)
    whole = jax.jacrev(lambda p: outputs(p, X))(leaves)
    for leaf, met in structure.met.items():
        rows = np.asarray(whole[leaf]).reshape(value.size, -1)
        delta = np.asarray(sent[met.tap])
        arrived = np.asarray(vectors.get(leaf, np.ones(1)))
        # Entry for entry up to their order: equal inner products between outputs, equal norms.
        assert np.allclose(rows @ rows.T, delta @ delta.T * (arrived @ arrived), rtol=1e-13)
        outer = np.sort(np.einsum("ka,b->kab", delta, arrived).reshape(value.size, -1), axis=1)
        assert np.allclose(np.sort(rows, axis=1), outer, rtol=1e-13, atol=1e-15)


def test_a_matrix_and_the_bias_beside_it_share_a_tap():
    outputs, leaves, _ = CASES["dense"]
    structure = find_structure(outputs, leaves, X)
    assert len(structure.taps) == 1
    assert structure.met[0].tap == structure.met[1].tap
