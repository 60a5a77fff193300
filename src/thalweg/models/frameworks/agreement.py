"""A network held against its own framework: outputs, gradient and a Hessian product in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from thalweg.core.errors import InputError, require
from thalweg.core.hessian_product import hessian_product
from thalweg.core.tree import Params, flatten

TOLERANCE = 1e-10  # relative; two programs in double precision differ by 1e-16 to 1e-13
DIFFERENCES = 1e-6  # what differences of gradients in double precision leave open


class Derived(NamedTuple):
    """What a network gives on a batch, as flat arrays in double precision.

    Attributes:
        outputs: Shape (n, k), or as the framework shapes them.
        gradient: Of `objective`, leaf by leaf in the order of the weights.
        product: The Hessian of `objective` times the directions of `directions`.
        exact: Whether the product is one of derivatives, not of differences of gradients.
    """

    outputs: np.ndarray
    gradient: np.ndarray
    product: np.ndarray
    exact: bool = True


class Agreement:
    """Largest differences from the framework, relative to the largest entry there.

    Attributes:
        outputs: Of the outputs.
        gradient: Of a gradient.
        product: Of a Hessian product.
        exact: Whether the framework's product was one of derivatives; else of differences of its
            gradients, because it has no second derivatives here or wrong ones.
    """

    def __init__(self, outputs: float, gradient: float, product: float, exact: bool = True) -> None:
        self.outputs, self.gradient = outputs, gradient
        self.product, self.exact = product, exact

    def __repr__(self) -> str:
        return (
            f"Agreement(outputs={self.outputs:.1e}, gradient={self.gradient:.1e}, "
            f"product={self.product:.1e}{'' if self.exact else ', exact=False'})"
        )

    @property
    def worst(self) -> float:
        """The largest of what was compared exactly."""
        return max(self.outputs, self.gradient, self.product if self.exact else 0.0)

    def within(self, tolerance: float) -> bool:
        """Whether nothing differs by more; NaN does."""
        return self.worst <= tolerance and (self.exact or self.product <= DIFFERENCES)


def coefficients(shape: tuple[int, ...]) -> np.ndarray:
    """Numbers by which outputs are weighed, none alike."""
    size = int(np.prod(shape))
    return np.cos(np.arange(1.0, size + 1)).reshape(shape)


def directions(like: list[Any]) -> list[np.ndarray]:
    """One direction in weight space, an array for each of the weights."""
    rng = np.random.default_rng(0)
    return [rng.normal(size=np.shape(leaf)) for leaf in like]


def derived(outputs: Callable[[Params], Array], params: Params) -> Derived:
    """What a function of JAX gives, its objective sum(c f + f^2 / 2) forward over reverse.

    Args:
        outputs: Of the weights.
        params: The weights in double precision.
    """

    def objective(params: Params) -> Array:
        out = outputs(params)
        return jnp.sum(coefficients(out.shape) * out + out**2 / 2)

    def all_three(params: Params) -> tuple[Array, Array, Array]:
        along = jnp.concatenate([d.ravel() for d in directions(jax.tree.leaves(params))])
        product = hessian_product(objective, params)(along)
        return outputs(params), flatten(jax.grad(objective)(params)), product

    found, gradient, product = (np.asarray(part) for part in jax.jit(all_three)(params))
    return Derived(found, gradient, product)


def reverse_over_reverse(outputs: Callable[[Params], Array], params: Params) -> Derived:
    """The same by another way: operation by operation, without compiling, gradients of gradients.

    For what a framework of JAX gives itself.
    """

    def objective(params: Params) -> Array:
        out = outputs(params)
        return jnp.sum(coefficients(out.shape) * out + out**2 / 2)

    def slope(params: Params) -> Array:
        leaves = jax.tree.leaves(jax.grad(objective)(params))
        return sum(
            jnp.vdot(leaf, along) for leaf, along in zip(leaves, directions(leaves), strict=True)
        )  # type: ignore[return-value]

    return Derived(
        np.asarray(outputs(params)),
        np.asarray(flatten(jax.grad(objective)(params))),
        np.asarray(flatten(jax.grad(slope)(params))),
    )


def relative_gap(mine: np.ndarray, other: np.ndarray) -> float:
    """The largest difference over the largest entry of the other; infinite where one is NaN."""
    scale = float(np.max(np.abs(other), initial=0.0))
    gap = float(np.max(np.abs(mine.ravel() - other.ravel()), initial=0.0))
    return np.nan_to_num(gap / scale if scale > 0 else gap, nan=np.inf)


def differences(ours: Derived, theirs: Derived) -> Agreement:
    """What two differ by, whatever that is."""
    gaps = [relative_gap(a, b) for a, b in zip(ours[:3], theirs[:3], strict=True)]
    return Agreement(gaps[0], gaps[1], gaps[2], theirs.exact)


def agreement_of(ours: Derived, theirs: Derived, title: str, blame: Callable[[], str]) -> Agreement:
    """What two differ by.

    Args:
        ours: Of the model.
        theirs: Of the framework.
        title: What the network is called.
        blame: Says which layer is the first to differ, and by how much; asked in case of need.

    Raises:
        InputError: If it is more than rounding explains.
    """
    require(
        ours.outputs.size == theirs.outputs.size,
        f"{title} gives outputs of shape {theirs.outputs.shape} in its framework and of shape "
        f"{ours.outputs.shape} here; it cannot be used",
    )
    found = differences(ours, theirs)
    if not found.within(TOLERANCE):
        raise InputError(
            f"{title} does not agree with its framework in float64: outputs differ by "
            f"{found.outputs:.1e}, a gradient by {found.gradient:.1e}, a Hessian product by "
            f"{found.product:.1e} of the largest entry; {blame()}"
        )
    return found
