"""Where the kinks of a net start under each law of its biases."""

import jax
import numpy as np
import pytest
from scipy import stats
from scipy.spatial import ConvexHull, Delaunay

from thalweg.core.errors import InputError
from thalweg.models import BIAS_LAWS, linear, mlp, spread_biases

WIDE = 4000
EXAMPLES = np.random.default_rng(0).normal(size=(30, 2)) + np.array([3.0, 0.0])


def first_layer(law, examples=EXAMPLES, width=WIDE, seed=1):
    net = spread_biases(mlp([width, 3], "relu", initialiser="he-normal"), law, examples)
    params = net.init(jax.random.key(seed), examples.shape[1:], 2)
    assert np.all(np.asarray(params[1]["bias"]) == 0)
    return np.asarray(params[0]["weight"]), np.asarray(params[0]["bias"])


@pytest.mark.parametrize(
    ("law", "low", "high"),
    [
        ("unif", -np.sqrt(6), np.sqrt(6)),
        ("unif-pos", 0, np.sqrt(6)),
        ("unif-neg", -np.sqrt(6), 0),
        ("pytorch", -np.sqrt(0.5), np.sqrt(0.5)),
    ],
)
def test_uniform_laws_have_their_ends(law, low, high):
    W, b = first_layer(law)
    assert stats.kstest(b, stats.uniform(low, high - low).cdf).pvalue > 1e-3
    assert abs(np.corrcoef(b, W[:, 0])[0, 1]) < 4 / np.sqrt(WIDE)
    plain = stats.kstest(W.ravel(), stats.norm(scale=1.0).cdf)  # variance 2/2
    assert plain.pvalue > 1e-3


def test_kinks_pass_through_the_examples_and_face_away_from_zero():
    W, b = first_layer("kink-neg-point")
    z = W @ EXAMPLES.T + b[:, None]
    assert np.all(np.min(np.abs(z), axis=1) < 1e-12)
    assert np.all(b <= 0)
    through = np.argmin(np.abs(z), axis=1)
    counts = np.bincount(through, minlength=30)
    assert stats.chisquare(counts).pvalue > 1e-3
    assert np.mean(W[:, 0]) > 0.5  # turned towards the examples, which lie on the right


def test_the_hull_holds_the_kinks():
    """Each kink is a line that meets the convex hull; of one input it lies in the range."""
    W, b = first_layer("convex-hull")
    z = W @ EXAMPLES.T
    assert np.all((z.min(1) <= -b) & (-b <= z.max(1)))
    assert Delaunay(EXAMPLES[ConvexHull(EXAMPLES).vertices]).find_simplex(EXAMPLES).min() >= 0
    # Five random shares: the variance of the point is that of an example times E sum s^2 = 1/3.
    W, b = first_layer("convex-hull", EXAMPLES[:, :1])
    kinks = -b / W[:, 0]
    assert np.var(kinks) == pytest.approx(np.var(EXAMPLES[:, 0]) / 3, rel=0.1)


def test_kink_uniform_fills_the_range():
    W, b = first_layer("kink-uniform")
    z = W @ EXAMPLES.T
    place = (-b - z.min(1)) / (z.max(1) - z.min(1))
    assert stats.kstest(place, stats.uniform.cdf).pvalue > 1e-3


def test_only_the_first_layer_differs_and_types_stay():
    net = mlp([4, 3], "relu")
    for law in BIAS_LAWS:
        model = spread_biases(net, law, EXAMPLES)
        params = model.init(jax.random.key(1), (2,), 2, jax.numpy.float32)
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jax.numpy.dtype("float32")}
        x = EXAMPLES.astype(np.float32)
        np.testing.assert_array_equal(model.apply(params, x), net.apply(params, x))


def test_bad_input_is_one_sentence():
    with pytest.raises(InputError, match="puts kinks where examples are"):
        spread_biases(mlp([4]), "kink-neg-point")
    with pytest.raises(InputError, match="bias law"):
        spread_biases(mlp([4]), "somewhere")
    with pytest.raises(InputError, match="no hidden layer with biases"):
        spread_biases(linear([4]), "unif").init(jax.random.key(0), (2,), 1)
    with pytest.raises(InputError, match="2 numbers each, the net takes 3"):
        spread_biases(mlp([4]), "convex-hull", EXAMPLES).init(jax.random.key(0), (3,), 1)
