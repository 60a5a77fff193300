"""Training of the last, affine layer alone: a convex problem on features that stand still."""

from __future__ import annotations

import dataclasses

import jax
from jaxtyping import Array, Float

from thalweg.core.errors import choose, require
from thalweg.core.tree import Params
from thalweg.models import Applied
from thalweg.models.dense import affine
from thalweg.problems.losses import Loss
from thalweg.problems.problem import Supervised

# sup ||Hessian of q -> loss(q, y)||, unit loss/output^2
SMOOTHNESS = {"squared-error": 1.0, "cross-entropy": 0.5, "binary-cross-entropy": 0.25}


def loss_smoothness(loss: Loss) -> float:
    """L_l, the smallest Lipschitz constant of q -> grad_q loss(q, y).

    1 for 1/2 ||q - y||^2; 1/2 for the softmax cross-entropy, whose Hessian diag(p) - p p^T has
    the eigenvalue 1/2 where two classes share all probability and nowhere a larger one; 1/4 for a
    binary cross-entropy of every output, whose Hessian is diag(p (1 - p)).

    Args:
        loss: One of `LOSSES`.

    Raises:
        InputError: If the constant of this loss is not known.

    Source: Kawaguchi and Sun (2021), assumption on the loss (E2).

    Examples:
        >>> tw.problems.loss_smoothness(tw.problems.LOSSES["cross-entropy"])
        0.5
    """
    return choose(loss.name, SMOOTHNESS, "loss of known smoothness")


def last_layer_problem(
    problem: Supervised, params: Params, features: Float[Array, "n m"] | None = None
) -> Supervised:
    """The same problem with the features computed once and only the last layer trained.

    Its inputs are h(x_i, u), shape (n, m); its parameters and its start are `params[-1]`, W and b;
    its objective there is that of `problem`. It is convex. A net that normalises over the batch
    keeps the moments of all training examples.

    Args:
        problem: What is trained, with a model that has an affine last layer.
        params: All parameters.
        features: The features if they are at hand, so that nothing is computed.

    Raises:
        InputError: If the model does not say which layer is its last, or the objective has a
            term beside the loss.

    Cost: One forward pass. Source: Kawaguchi and Sun (2021), phase 2 of the algorithm.

    Examples:
        >>> problem = tw.problems.supervised(tw.models.mlp([5]), (np.eye(3), np.ones((3, 1))))
        >>> params = problem.init(jax.random.key(0))
        >>> last = tw.problems.last_layer_problem(problem, params)
        >>> bool(jnp.isclose(last.objective(params[-1]), problem.objective(params)))
        True
    """
    require(
        problem.plain,
        f"a {type(problem).__name__} has a term beside its loss, which features do not tell; give "
        "a problem without it",
    )
    if features is None:
        features = _features(problem, params)
    return dataclasses.replace(problem, model=Applied(affine, start=params[-1]), inputs=features)


def _features(problem: Supervised, params: Params) -> Float[Array, "n m"]:
    model, x = problem.model, problem.inputs
    if problem.microbatch is None:
        return model.features(params, x)

    def one(example: Array) -> Array:
        return model.features(params, example[None])[0]

    return jax.lax.map(one, x, batch_size=problem.microbatch)
