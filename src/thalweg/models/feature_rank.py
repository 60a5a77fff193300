"""The expressivity condition: do the last hidden layer's features tell all examples apart?

With A(u) = [h(x_i, u), 1], of shape (n, m + 1), the condition asks for some parameters u below the
last layer with rank A(u) = n. For analytic activations det(A A^T) is then zero on a null set of u
only, so that one success proves the condition for the data and the architecture; failures prove
nothing. Source: Kawaguchi and Sun (2021), arXiv 2104.05785.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike, NDArray

from thalweg.core.arguments import told
from thalweg.core.errors import InputError, reason, require
from thalweg.core.rank import rounding_of
from thalweg.core.tree import Params
from thalweg.models.dense import MLP
from thalweg.models.model import Model, activation


class Expressivity(NamedTuple):
    """How far a feature matrix is from losing rank.

    Attributes:
        rank: Singular values above `tolerance`.
        examples: n, the rank that the condition asks for.
        margin: sigma_n / sigma_1; 0 with fewer than n columns. Never believe the rank without it.
        log_det: ln det(A A^T) = 2 sum_j ln sigma_j over j <= n; -inf if the margin is 0.
        tolerance: max(n, columns) eps sigma_1, in the unit of the features.
        singular_values: Descending, (min(n, columns),).
    """

    rank: int
    examples: int
    margin: float
    log_det: float
    tolerance: float
    singular_values: NDArray[np.float64]

    @property
    def holds(self) -> bool:
        """Whether the numerical rank is n."""
        return self.rank == self.examples


class Search(NamedTuple):
    """What a search for parameters of full rank found.

    Attributes:
        found: The verdict at `params`, those of the largest rank and margin met.
        params: All parameters.
        how: "initialiser" (the model's own start), "random biases" or "witness".
        draws: How many parameters were tried.
    """

    found: Expressivity
    params: Params
    how: str
    draws: int


def feature_matrix(
    model: Model, params: Params, x: Float[Array, "n ..."], ones: bool = True
) -> Float[Array, "n columns"]:
    """A = [h(x, u), 1], what the last layer sees of a batch and of its bias.

    Args:
        model: A network with an affine last layer.
        params: All parameters; the last layer's do not matter.
        x: Inputs. A net that normalises over the batch takes the moments of these: a net of
            fixed moments, `model.at_moments_of(params, x)`, has the same A on the same inputs.
        ones: Whether the column of ones is there; the last layer needs a bias for it.

    Raises:
        InputError: If the model does not say which layer is its last.

    Cost: One forward pass. Source: Kawaguchi and Sun (2021), definition of the condition (E1).

    Examples:
        >>> net = tw.models.mlp([2], "relu")
        >>> zero = [{"weight": jnp.zeros((1, 2)), "bias": jnp.zeros(1)}]
        >>> params = [{"weight": jnp.eye(2), "bias": jnp.zeros(2)}, *zero]
        >>> tw.models.feature_matrix(net, params, jnp.array([[1.0, -1.0]])).tolist()
        [[1.0, 0.0, 1.0]]
    """
    x = jnp.asarray(x)
    _check_batch(x)
    try:
        h = _features(model, params, x)
    except InputError:
        raise
    except Exception as error:  # of whatever in the model meets what does not fit
        raise InputError(
            f"params came as {told(params)}, x with shape {x.shape}: they do not fit this model "
            f"({reason(error)}); give parameters as model.init draws them for such inputs"
        ) from None
    return jnp.concatenate([h, jnp.ones((len(h), 1), h.dtype)], axis=1) if ones else h


def _check_batch(x: Array) -> None:
    require(
        x.ndim >= 2 and x.size > 0,
        f"x came with shape {x.shape}; give a batch of inputs, (examples, features) or more axes",
    )


@eqx.filter_jit
def _features(model: Model, params: Params, x: Array) -> Array:
    return model.features(params, x)


def expressivity(
    model: Model, params: Params, x: Float[Array, "n ..."], ones: bool = True
) -> Expressivity:
    """Rank and margin of the feature matrix of a batch at given parameters.

    The arguments are those of `feature_matrix`; the rest is `rank_of`.

    Cost: One forward pass and one singular value decomposition, O(n^2 m).

    Examples:
        >>> net = tw.models.mlp([2], "relu")
        >>> zero = [{"weight": jnp.zeros((1, 2)), "bias": jnp.zeros(1)}]
        >>> params = [{"weight": jnp.eye(2), "bias": jnp.zeros(2)}, *zero]
        >>> tw.models.expressivity(net, params, jnp.eye(2)).holds  # features (1, 0) and (0, 1)
        True
    """
    return rank_of(feature_matrix(model, params, x, ones))


def rank_of(A: ArrayLike) -> Expressivity:
    """Rank, margin and log-determinant of a matrix (n, columns), whose rank should be n.

    A singular value counts if it is above max(n, columns) eps sigma_1. Storing A rounds each entry
    by eps/2 of itself at most, which by Weyl's inequality moves no singular value by more than
    eps/2 ||A||_F <= eps/2 sqrt(min(n, columns)) sigma_1, and the decomposition is exact for a
    matrix within a small multiple of sqrt(n columns) eps sigma_1: values below the tolerance are
    not told from zero. What rounding did to the features on their way through the net is not in
    it. The determinant itself under- or overflows beyond n = 50 and is never formed.

    Raises:
        InputError: If A is no matrix of finite numbers.

    Source: Golub and Van Loan (2013), sec. 5.4.1 and 8.6; Kawaguchi and Sun (2021), E1.

    Examples:
        >>> found = tw.models.rank_of([[2.0, 0.0], [0.0, 1.0]])
        >>> found.rank, round(found.margin, 6), found.holds
        (2, 0.5, True)
    """
    array = np.asarray(A)
    require(
        array.ndim == 2 and array.size > 0 and bool(np.isfinite(array).all()),
        f"a feature matrix of shape {array.shape} came; give finite numbers, (examples, columns)",
    )
    eps = rounding_of(array)
    n, columns = array.shape
    values = np.linalg.svd(array.astype(np.float64), compute_uv=False)
    tolerance = max(n, columns) * eps * values[0]
    enough = columns >= n and values[-1] > 0
    return Expressivity(
        int(np.sum(values > tolerance)),
        n,
        float(values[-1] / values[0]) if enough else 0.0,
        float(2 * np.sum(np.log(values))) if enough else -np.inf,
        float(tolerance),
        values,
    )


def expressivity_search(
    model: Model,
    x: Float[Array, "n ..."],
    key: Array,
    *,
    draws: int = 20,
    bias_std: float = 1.0,
) -> Search:
    """Look for parameters at which the condition holds.

    First the model's own start, then up to `draws` of its starts with random hidden biases, then,
    for fully connected nets, the `constructed_witness`. It stops at the first success.

    Args:
        model: A network with an affine last layer.
        x: The training inputs.
        key: Source of randomness.
        draws: Most redraws with random biases, at least 0.
        bias_std: Their standard deviation (unit: parameter); shifts of normalisations count as
            biases.

    Returns:
        What was found; the best of all tries if none succeeded, which proves nothing.

    Raises:
        InputError: If the model does not say which layer is its last.

    Cost: Up to draws + 2 times that of `expressivity`.
    Source: Kawaguchi and Sun (2021), verification of the condition.

    Examples:
        >>> net = tw.models.mlp([4], "softplus")
        >>> x = jax.random.normal(jax.random.key(0), (3, 2))
        >>> search = tw.models.expressivity_search(net, x, jax.random.key(1))
        >>> search.found.holds, search.how
        (True, 'initialiser')
    """
    x = jnp.asarray(x)
    _check_batch(x)
    require(draws >= 0, f"draws came as {draws}; give a whole number of at least 0")
    best: Search | None = None
    for draw in range(draws + 1):
        start, biases = jax.random.split(jax.random.fold_in(key, draw))
        params = model.init(start, x.shape[1:], 1, x.dtype)
        if draw > 0:
            params = _random_biases(params, biases, bias_std)
        how = "random biases" if draw else "initialiser"
        best = _better(best, Search(expressivity(model, params, x), params, how, draw + 1))
        if best.found.holds:
            return best
    if isinstance(model, MLP) and _has_witness(model, len(x)):
        params = constructed_witness(model, x, jax.random.fold_in(key, draws + 1))
        tried = Search(expressivity(model, params, x), params, "witness", draws + 2)
        best = _better(best, tried)
    assert best is not None
    return best


def _better(old: Search | None, new: Search) -> Search:
    if old is None or (new.found.rank, new.found.margin) > (old.found.rank, old.found.margin):
        return new
    return old._replace(draws=new.draws)


def _random_biases(params: Params, key: Array, std: float) -> Params:
    """All leaves under "bias" or "shift" replaced by N(0, std^2)."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    keys = jax.random.split(key, len(leaves))
    drawn = [
        jnp.asarray(std, leaf.dtype) * jax.random.normal(k, leaf.shape, leaf.dtype)
        if getattr(path[-1], "key", None) in ("bias", "shift")
        else leaf
        for k, (path, leaf) in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, drawn)


def constructed_witness(
    model: MLP,
    x: Float[Array, "n ..."],
    key: Array,
    outputs: int = 1,
    scale: float | None = None,
) -> Params:
    """Parameters at which a fully connected softplus net of any narrow widths has rank n.

    Through one unit of every narrow layer runs a strictly increasing map of a random projection
    w . x + b > 1/2, so that distinct inputs keep distinct values t_i > 0. Unit r of the wide layer
    is softplus(scale (t - kappa_r)), with kappa_1 below all t and the others between
    neighbours (spare ones anywhere): for scale -> infinity about scale (t - kappa_r)_+, hence a
    triangular block with a positive diagonal. Unused units get zero weights. In floating point it
    is the positive shifts that keep softplus of high sharpness from merging inputs.

    Args:
        model: An `MLP` with biases, activation softplus or softplus:sharpness, and a last hidden
            layer of at least n units.
        x: Distinct inputs.
        key: Of the projection and of the spare units.
        outputs: Of the last layer, which is zero.
        scale: Of the wide layer's weights; by default 100/(sharpness x smallest gap of the t).

    Raises:
        InputError: If the net is of another kind or too narrow, or if inputs are not distinct.

    Source: Kawaguchi and Sun (2021), fully connected nets of narrow layers and one wide one; the
    construction at width 1 is our own (E1's sufficient architecture).

    Examples:
        >>> net, x = tw.models.mlp([1, 3], "softplus:100"), jnp.array([[0.0], [1.0], [2.0]])
        >>> params = tw.models.constructed_witness(net, x, jax.random.key(0))
        >>> tw.models.expressivity(net, params, x).holds
        True
    """
    x = jnp.asarray(x)
    _check_batch(x)
    n = len(x)
    require(
        _has_witness(model, n),
        f"{model!r} has no witness for {n} examples; give an mlp with biases, activation "
        f"softplus:100 and a last hidden layer of at least {n} units",
    )
    wide = model.hidden[-1]
    toward, spare = jax.random.split(key)
    flat = x.reshape(n, -1)
    line = jax.random.normal(toward, flat.shape[1:], flat.dtype)
    offset = 0.6 - jnp.min(flat @ line)
    t = flat @ line + offset
    shapes = jax.eval_shape(lambda: model.init(key, x.shape[1:], outputs, x.dtype))
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    for layer in params[:-2]:
        layer["weight"] = layer["weight"].at[0, : len(line)].set(line)
        layer["bias"] = layer["bias"].at[0].set(offset)
        line, offset = jnp.ones(1, x.dtype), jnp.asarray(0.1, x.dtype)
        t = activation(model.activation).function(t) + offset
    t = jnp.sort(t)
    gaps = jnp.diff(t)
    require(bool(jnp.all(gaps > 0)), "two of the inputs are equal; no net tells them apart")
    first = t[:1] - (t[-1] - t[0]) / n
    more = jax.random.uniform(spare, (wide - n,), x.dtype, t[0], t[-1])
    kinks = jnp.concatenate([first, (t[1:] + t[:-1]) / 2, more])
    if scale is None:
        sharpness = float(str(model.activation).partition(":")[2] or 1)
        scale = 100 / (sharpness * float(jnp.min(gaps)))
    layer = params[-2]
    layer["weight"] = layer["weight"].at[:, : len(line)].set(scale * line)
    layer["bias"] = scale * (offset - kinks)
    return params


def _has_witness(model: MLP, n: int) -> bool:
    softplus = str(model.activation).partition(":")[0] == "softplus"
    return softplus and model.bias and len(model.hidden) > 0 and model.hidden[-1] >= n
