"""Normal noise added to the gradient: isotropic, of a given factor, or like an oracle's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from thalweg.core import tree
from thalweg.core.arguments import misfit, told
from thalweg.core.errors import InputError, reason, require, unknown
from thalweg.core.ranges import from_zero, positive
from thalweg.core.tree import Params
from thalweg.oracles.oracle import Counts, Normal, Oracle
from thalweg.problems.problem import Problem

CONVENTIONS = {"gibbs": 1.0, "paper": 0.5}  # of the temperature that a noise of neurons gives


class Isotropic(Normal):
    """Sigma = sigma^2 I; see `isotropic`."""

    sigma: Float[Array, ""] = eqx.field(converter=partial(from_zero, "sigma"))

    @property
    def name(self) -> str:
        return "with isotropic noise"

    @property
    def source(self) -> str:
        return "isotropic noise"

    def size(self, problem: Problem, params: Params) -> int:
        return tree.size(params)

    @property
    def column(self) -> int:
        return 0

    def noise(self, problem: Problem, params: Params, xi: Float[Array, " m"]) -> Params:
        return ravel_pytree(params)[1](self.sigma.astype(xi.dtype) * xi)


class Gaussian(Normal):
    """Sigma = sigma(theta) sigma(theta)^T; see `gaussian`."""

    sigma: Callable[..., Any] = eqx.field(static=True)
    columns: int | None = eqx.field(static=True, default=None)

    @property
    def name(self) -> str:
        return "with noise of a given factor"

    @property
    def source(self) -> str:
        return "the noise that was given"

    def suit(self, problem: Problem) -> None:
        params = jax.eval_shape(problem.init, jax.random.key(0))
        p = tree.size(params)
        try:
            if self.columns is None:
                shape = jax.eval_shape(self.sigma, params).shape
                wanted = len(shape) == 2 and shape[0] == p
                came = f"an array of shape {shape}; give one of shape ({p}, m), p flat parameters"
            else:
                kind = jax.tree.leaves(params)[0].dtype
                xi = jax.ShapeDtypeStruct((self.columns,), kind)
                made = jax.eval_shape(self.sigma, params, xi)
                shapes = [[leaf.shape for leaf in jax.tree.leaves(t)] for t in (made, params)]
                tree_of: Any = jax.tree.structure
                wanted = tree_of(made) == tree_of(params)
                wanted = wanted and shapes[0] == shapes[1]
                came = f"shapes {shapes[0]}; give a tree shaped as the parameters, {shapes[1]}"
        except Exception as error:  # a user's function may raise anything
            raise InputError(f"sigma of the parameters gave an error: {reason(error)}") from error
        require(wanted, f"sigma of the parameters gave {came}")

    def size(self, problem: Problem, params: Params) -> int:
        if self.columns is not None:
            return self.columns
        return jax.eval_shape(self.sigma, params).shape[1]

    @property
    def column(self) -> int:
        return 0

    def noise(self, problem: Problem, params: Params, xi: Float[Array, " m"]) -> Params:
        if self.columns is not None:
            return self.sigma(params, xi)
        return ravel_pytree(params)[1](self.sigma(params) @ xi)


class Surrogate(Normal):
    """Normal noise with the covariance of another oracle, scaled; see `surrogate`."""

    oracle: Oracle
    scale: Float[Array, ""] = eqx.field(converter=partial(from_zero, "scale"))

    @property
    def name(self) -> str:
        return f"with normal noise as that {self.oracle.name}"

    @property
    def source(self) -> str:
        return f"normal noise in place of {self.oracle.source}"

    def suit(self, problem: Problem) -> None:
        self.oracle.suit(problem)

    def counts(self, problem: Problem) -> Counts:
        return Counts(gradients=2)

    def size(self, problem: Problem, params: Params) -> int:
        return self.oracle.size(problem, params)

    @property
    def column(self) -> int:
        return self.oracle.column

    def noise(self, problem: Problem, params: Params, xi: Float[Array, " m"]) -> Params:
        return self.oracle.noise(problem, params, self.scale.astype(xi.dtype) * xi)


def isotropic(sigma: float | Array) -> Isotropic:
    """Normal noise sigma xi on every coordinate of the gradient: Sigma = sigma^2 I.

    Args:
        sigma: Standard deviation, at least 0 (unit: loss/parameter).

    Raises:
        InputError: If it is no such number.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(2))
        >>> tw.oracles.isotropic(0.5).covariance(bowl, bowl.start).dense().tolist()
        [[0.25, 0.0], [0.0, 0.25]]
    """
    return Isotropic(from_zero("sigma", sigma))


def langevin(temperature: float | Array, step_size: float | Array) -> Isotropic:
    """The noise with which descent of a step size is Langevin's equation at a temperature.

    theta <- theta - eta grad f + sqrt(2 T eta) xi: isotropic noise of sigma = sqrt(2 T/eta) on the
    gradient. As eta goes to 0 the law of theta goes to the Gibbs law exp(-f/T).

    Args:
        temperature: T, at least 0 (unit: loss).
        step_size: eta of the dynamics that takes it.

    Raises:
        InputError: If a number is out of range.

    Examples:
        >>> hot = tw.oracles.langevin(0.5, step_size=0.01)
        >>> round(float(hot.sigma), 6)
        10.0
    """
    heat, size = from_zero("temperature", temperature), positive("step_size", step_size)
    return Isotropic(jnp.sqrt(2 * heat / size))


def particle_noise(
    inverse_temperature: float | Array,
    step_size: float | Array,
    width: int,
    convention: str = "gibbs",
) -> Isotropic:
    """The noise with which descent of a `MeanFieldNet` samples the Gibbs law of its neurons.

    Each neuron takes theta_i <- theta_i - eta grad Psi(theta_i) + sqrt(2 eta/beta) xi_i, so that
    the law of a neuron of a wide net goes to exp(-beta Psi)/Z. In the stored parameters
    theta/sqrt(N) that is Langevin's noise at temperature 1/(beta N).

    Args:
        inverse_temperature: beta, above 0.
        step_size: eta of the dynamics that takes it; 2 s in the paper's step s.
        width: N, the number of neurons.
        convention: "gibbs", or "paper" for the variance eta/beta that is printed there, half of it,
            with which the law is exp(-2 beta Psi)/Z.

    Raises:
        InputError: If a number is out of range or the convention is unknown.

    Source: Shevchenko, Kungurtsev and Mondelli (2022), JMLR 23(130), their (3.3) and Gibbs form.

    Examples:
        >>> noise = tw.oracles.particle_noise(20.0, step_size=0.01, width=100)
        >>> round(float(0.01 * noise.sigma) * 10, 6)  # sqrt(2 * 0.01/20) of a neuron
        0.031623
    """
    require(
        not misfit(width, int) and width >= 1,
        f"width came as {told(width)}; give a whole number from 1 on",
    )
    require(convention in CONVENTIONS, unknown(convention, CONVENTIONS, "convention"))
    beta = positive("inverse_temperature", inverse_temperature)
    return langevin(CONVENTIONS[convention] / (beta * width), step_size)


def gaussian(sigma: Callable[..., Any], columns: int | None = None) -> Gaussian:
    """Normal noise of a given factor, sigma(theta) xi on the gradient: Sigma = sigma sigma^T.

    Args:
        sigma: A function of the parameters to a matrix (p, m), the rows in the order of the flat
            parameters. With `columns` a function of the parameters and xi (m,), linear in xi, to a
            tree shaped as the parameters: no matrix is formed.
        columns: m, if sigma takes xi.

    Raises:
        InputError: If m is no whole number; at the start of a run, if shapes do not fit.

    Cost: what sigma costs.

    Examples:
        >>> valley = lambda z: 0.5 * (1 + z[0] ** 2) * z[1] ** 2
        >>> across = lambda z: jnp.array([[0.0], [jnp.sqrt(1 + z[0] ** 2)]])
        >>> problem = tw.problems.Function(valley, start=jnp.array([1.0, 0.0]))
        >>> sigma = tw.oracles.gaussian(across).covariance(problem, problem.start)
        >>> bool(jnp.allclose(sigma.dense(), jnp.diag(jnp.array([0.0, 2.0]))))
        True
    """
    whole = columns is None or (not misfit(columns, int) and columns >= 1)
    require(whole, f"columns came as {told(columns)}; give a whole number from 1 on, or leave it")
    return Gaussian(sigma, None if columns is None else int(np.asarray(columns)))


def surrogate(oracle: Oracle, scale: float | Array = 1.0) -> Surrogate:
    """Normal noise with the covariance of another oracle: grad f + scale F xi, F F^T its Sigma.

    What a diffusion takes in place of the noise itself: it tells what is owed to the second
    moments of the noise alone.

    Args:
        oracle: Whose covariance.
        scale: A factor of the noise, at least 0.

    Raises:
        InputError: If the scale is no such number; at the start of a run, if the covariance of the
            oracle is not known.

    Cost: a step costs one gradient and one product with F, about another.

    Examples:
        >>> x, y = np.array([[1.0], [1.0]]), np.array([[0.0], [2.0]])
        >>> two = tw.problems.supervised(tw.models.linear([]), (x, y))
        >>> smooth = tw.oracles.surrogate(tw.oracles.minibatch(1))
        >>> sigma = smooth.covariance(two, [{"weight": jnp.zeros((1, 1))}])
        >>> round(float(sigma.trace()), 6)
        1.0
    """
    return Surrogate(oracle, from_zero("scale", scale))
