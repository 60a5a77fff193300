"""The regulariser against locality: by hand, where it is 1, on a user's net; and its task."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.models import ConvNet, Convolution
from thalweg.problems import supervised
from thalweg.problems.data.long_range import is_same_class, noisy_prototypes
from thalweg.problems.locality import interaction_regulariser, long_range

P = jnp.arange(5) < 2
Q = jnp.arange(5) >= 3


def test_it_is_the_mean_cosine_of_the_gradients_on_p():
    M = np.random.default_rng(0).normal(size=(2, 2))
    x = np.random.default_rng(1).normal(size=(4, 5))

    def f(x):
        return jnp.einsum("na,ab,nb->n", x[:, :2], M, x[:, 3:]) + x[:, 2] ** 3

    cosines = []
    for i in range(4):
        a, b = M @ x[i, 3:], M @ x[i - 1, 3:]
        cosines.append(abs(a @ b) / np.linalg.norm(a) / np.linalg.norm(b))
    found = interaction_regulariser(f, jnp.asarray(x), P, Q)
    assert float(found) == pytest.approx(np.mean(cosines), rel=1e-9)
    per_example = interaction_regulariser(f, jnp.asarray(x), jnp.tile(P, (4, 1)), Q)
    assert float(per_example) == pytest.approx(float(found), rel=1e-14)


def test_a_vanishing_gradient_counts_nothing_and_stays_finite():
    x = jnp.ones((3, 5))

    def term(w):
        return interaction_regulariser(lambda x: jax.nn.relu(-x @ w), x, P, Q)

    value, gradient = jax.value_and_grad(term)(jnp.ones(5))
    assert float(value) == 0
    assert np.all(np.isfinite(gradient))


def image_problem(loss="cross-entropy"):
    rng = np.random.default_rng(0)
    net = ConvNet((Convolution(3, 3, padding=1),), (6,), "tanh")
    return supervised(net, (rng.normal(size=(8, 1, 4, 6)), np.arange(8) % 3), loss)


def masks():
    pairs = np.zeros((2, 2, 1, 4, 6), bool)
    pairs[0, 0, ..., :2], pairs[0, 1, ..., 4:] = True, True
    pairs[1] = pairs[0, ::-1]
    return pairs


def test_a_users_net_gets_the_term_and_can_lower_it():
    plain = image_problem()
    problem = long_range(plain, masks(), 0.7)
    params = problem.init(jax.random.key(0))

    def scores(x):
        return jnp.sum(plain.outputs(params, x) * plain.targets, 1)

    turn = jnp.asarray(masks())[jnp.arange(8) % 2]
    R = interaction_regulariser(scores, plain.inputs, turn[:, 0], turn[:, 1])
    expected = plain.objective(params) + 0.7 * R
    assert float(problem.objective(params)) == pytest.approx(float(expected), rel=1e-13)
    step = tw.optax_dynamics(optax.adam(0.01), 0.01, batch=4)
    run = tw.run(long_range(plain, masks(), 20.0), step, until=0.5, records=5)
    assert float(run.dataset.loss[0, -1]) < 0.9 * float(run.dataset.loss[0, 0])
    assert problem.describe()["interaction_strength"] == 0.7


def test_what_does_not_fit_is_refused():
    plain = image_problem()
    for pairs, sentence in (
        (masks()[:, 0], "booleans"),
        (np.zeros((1, 2, 1, 4, 6), bool), "without entries"),
        (np.ones((1, 2, 1, 4, 6), bool), "overlap"),
    ):
        with pytest.raises(InputError, match=sentence):
            long_range(plain, pairs, 1.0)
    with pytest.raises(InputError, match="from 0 on"):
        long_range(plain, masks(), -1.0)
    with pytest.raises(InputError, match="at least two"):
        interaction_regulariser(lambda x: x[:, 0], jnp.ones((1, 5)), P, Q)


def test_pairs_stand_where_they_should_and_labels_tell_the_truth():
    images = np.arange(1.0, 9.0)[:, None, None, None] * np.ones((1, 2, 3, 2))
    labels = np.arange(8) % 2
    found = is_same_class(images, labels, 400, 3, (5, 11), seed=1)
    assert found.inputs.shape == (400, 2, 5, 11)
    left, right = found.inputs[:, 0, 1, 2], found.inputs[:, 1, 3, 8]
    assert set(left) | set(right) == set(range(1, 9))
    same = left.astype(int) % 2 == right.astype(int) % 2
    np.testing.assert_array_equal(found.targets[:, 0], np.where(same, 1, -1))
    assert not np.any(left == right)
    assert abs(same.mean() - 0.5) < 0.1
    columns = [np.flatnonzero(m.any((0, 1))).tolist() for m in found.patches]
    assert columns == [[2, 3], [7, 8]]
    assert not np.any(found.inputs * ~found.patches.any(0))
    np.testing.assert_array_equal(np.count_nonzero(found.patches, axis=(1, 2, 3)), [12, 12])


def test_prototypes_have_the_noise_asked_for():
    x, y = noisy_prototypes(3, 50, 200, 0.5, seed=0)
    assert x.shape == (600, 1, 1, 50)
    spread = np.concatenate([x[y == c] - x[y == c].mean(0) for c in range(3)])
    assert spread.std() == pytest.approx(0.5, rel=0.02)


def test_impossible_tasks_are_refused():
    images, labels = np.ones((4, 1, 2, 2)), np.array([0, 0, 1, 1])
    for wrong, sentence in (
        ((images[:, 0], labels, 3, 0, (2, 9)), "height, width"),
        ((images, labels, 3, 6, (2, 9)), "do not fit"),
        ((images[:3], labels[:3], 3, 0, (2, 9)), "at least 2 of each"),
    ):
        with pytest.raises(InputError, match=sentence):
            is_same_class(*wrong)
    with pytest.raises(InputError, match="give at least"):
        noisy_prototypes(0, 1, 1, 0.1)
