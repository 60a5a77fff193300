"""Kronecker factors of the Fisher matrix: second moments of what weights meet and send back.

    A = E[sum_t h_t h_t^T],    G = 1/T E[sum_t g_t g_t^T],    F_block ~ A (x) G,

h_t with the number 1 where there is a bias, g_t the derivative of the loss of one example, not of
the mean, by z_t; E over the examples and over targets. T = 1 for a dense layer. Places of a tied
weight count as further t; one that is met as W^T changes the sides of h and g, and is scaled before
it joins so that both of its moments have one mean diagonal.

Source: Martens and Grosse (2015), section 3; Grosse and Martens (2016), theorem 1.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.errors import InputError, require, unknown
from thalweg.curvature.kronecker.layers import Layers
from thalweg.curvature.kronecker.passes import Passes, Signals
from thalweg.problems.likelihoods import likelihood
from thalweg.problems.problem import Supervised

TARGETS = ("exact", "sampled", "empirical")


class Factors(eqx.Module):
    """The factors of all blocks; see the top of the file.

    Attributes:
        inputs: A of each block; of a block that is no Kronecker product its diagonal, (p,).
        outputs: G of each block; the number 1, (1, 1), where it is none.
        input_pairs: E[h h'^T] of each Kronecker block with the next, or none.
        output_pairs: E[g g'^T] likewise.
    """

    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]
    input_pairs: tuple[Array, ...] = ()
    output_pairs: tuple[Array, ...] = ()

    def averaged(self, other: Factors, share: Float[Array, ""]) -> Factors:
        """Share times these plus (1 - share) times others."""
        return jax.tree.map(lambda a, b: share * a + (1 - share) * b, self, other)


def factors_of(
    layers: Layers,
    at: Passes,
    covectors: Float[Array, "c n k"],
    weight: Array | float,
    chain: bool = False,
) -> Factors:
    """The factors of some examples from gradients by their outputs.

    Args:
        layers: Those of the model.
        at: Its forward pass on the examples.
        covectors: Gradients r of the loss by the outputs, c of them for every example.
        weight: What the sum over c of r r^T is to be multiplied with; times n for a summed loss.
        chain: Whether the moments of neighbouring blocks are wanted.
    """
    n = len(at.outputs)

    def back(r: Array) -> tuple[Signals, list[Array]]:
        sent = at.pull(r)[1]
        return _moments(layers, sent), _neighbours(layers, sent) if chain else []

    if len(covectors) == 1:
        sent, sent_pairs = back(covectors[0])
    else:
        each = jax.lax.map(back, covectors)
        sent, sent_pairs = jax.tree.map(lambda m: jnp.sum(m, axis=0), each)
    met = _moments(layers, at.vectors)
    inputs, outputs = [], []
    for layer, hh, gg in zip(layers.blocks, met, sent, strict=True):
        if not layer.kronecker:
            inputs.append(weight / n * gg[0])
            outputs.append(jnp.ones((1, 1), gg[0].dtype))
            continue
        count = sum(len(place.order) for place in layer.places)
        sides = [
            _sides(h / n, g * (weight / (n * count)), place.turned)
            for h, g, place in zip(hh, gg, layer.places, strict=True)
        ]
        if any(place.turned for place in layer.places):
            sides = [_balanced(*side) for side in sides]
        inputs.append(_total([side[0] for side in sides]))
        outputs.append(_total([side[1] for side in sides]))
    met_pairs = _neighbours(layers, at.vectors) if chain else []
    return Factors(
        tuple(inputs),
        tuple(outputs),
        tuple(pair / n for pair in met_pairs),
        tuple(weight / n * pair for pair in sent_pairs),
    )


def covectors_of(
    problem: Supervised,
    outputs: Float[Array, "n k"],
    targets: str,
    key: Array | None = None,
    samples: int = 1,
) -> tuple[Float[Array, "c n k"], float]:
    """Gradients of single losses by the outputs, and the weight of the sum of their squares.

    Args:
        problem: Gives the loss, and the targets of "empirical".
        outputs: Of its examples.
        targets: "exact" (all k columns of a root of the output's Fisher matrix, whose squares add
            up to the expectation), "sampled" from the model, or "empirical", the data's own, which
            gives the second moment of gradients and no Fisher matrix.
        key: For "sampled".
        samples: Draws for every example.

    Raises:
        InputError: If `targets` is unknown, or the loss is no likelihood and they are not the
            data's own.
    """
    require(targets in TARGETS, unknown(targets, TARGETS, "choice of targets"))
    if targets == "empirical":
        slope: Callable[[Any, Any], Any] = jax.vmap(jax.grad(problem.loss.one))
        return slope(outputs, problem.targets)[None], 1.0
    model = likelihood(problem.loss)
    if targets == "exact":
        return model.roots(outputs), 1.0
    if key is None:
        raise InputError("targets are sampled, and no key came; give key=jax.random.key(0)")
    require(samples >= 1, f"samples came as {samples}; give at least 1")
    mean = model.mean(outputs)
    keys = jax.random.split(key, samples)
    drawn = jax.vmap(lambda key: mean - model.sample(key, outputs))(keys)
    return drawn, 1 / samples


def _moments(layers: Layers, values: Signals) -> Signals:
    """Sums over examples and t of v v^T in each place; of squares where a block is no product."""
    found = []
    for layer, parts in zip(layers.blocks, values, strict=True):
        if layer.kronecker:
            flat = [v.reshape(-1, v.shape[2]) for v in parts]
            found.append([v.T @ v for v in flat])
        else:
            found.append([jnp.sum(v[:, 0] ** 2, axis=0) for v in parts])
    return found


def _neighbours(layers: Layers, values: Signals) -> list[Array]:
    """Sums over examples of v v'^T of each Kronecker block with the next."""
    chain = [v[0][:, 0] for layer, v in zip(layers.blocks, values, strict=True) if layer.kronecker]
    return [a.T @ b for a, b in pairwise(chain)]


def _total(parts: list[Array]) -> Array:
    return functools.reduce(jnp.add, parts)


def _sides(hh: Array, gg: Array, turned: bool) -> tuple[Array, Array]:
    return (gg, hh) if turned else (hh, gg)


def _balanced(A: Array, G: Array) -> tuple[Array, Array]:
    """The same product, both factors with one mean diagonal."""
    a, g = jnp.trace(A) / len(A), jnp.trace(G) / len(G)
    tiny = jnp.finfo(A.dtype).tiny
    scale = jnp.sqrt(jnp.maximum(a, tiny) / jnp.maximum(g, tiny))
    return A / scale, G * scale


def check_chain(layers: Layers) -> None:
    """Refuse a net whose layers are no chain of weights that meet one vector each.

    Raises:
        InputError: If a weight is met more than once in an example.
    """
    for layer in layers.blocks:
        if layer.kronecker and not layer.single:
            raise InputError(
                f"{layer.name} is met by several vectors of an example, so it has no moments with "
                'its neighbours; take structure="diagonal", or a net of dense layers'
            )
