"""Local entropy: the log-volume of low loss about a point, by thermodynamic integration."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.core.errors import require
from thalweg.core.ranges import require_positive
from thalweg.core.tree import Params
from thalweg.probes.flatness.coefficient import temperature_of
from thalweg.probes.flatness.gibbs import OfChains, Sampler, gibbs_means, refused
from thalweg.probes.flatness.measure import Costed
from thalweg.problems.problem import Problem


class LocalEntropy(OfChains):
    """S = log E exp(-beta (f(theta + x) - f(theta))), x normal of covariance I/(beta gamma).

    With Z(gamma) = int exp(-beta f(theta + x) - beta gamma/2 ||x||^2) dx this is log Z(gamma) +
    beta f(theta) less its value for a constant f. As Z'/Z is -beta/2 <||x||^2> and by the virial
    theorem, dS/d log gamma = beta/2 <<x, grad f(theta + x)>>, which is 0 at gamma = infinity; with
    gamma' = gamma/u^2

        S(gamma) = - int_0^1 beta <<x, grad f(theta + x)>>_{gamma/u^2} du/u,

    by Clenshaw-Curtis quadrature in u, chains of `thalweg.probes.flatness.gibbs` at every node.

    value   (), nats: 0 on a plain, the lower the steeper; NaN where chains have not come to rest
    error   (), standard error of the sum plus its difference to the rule on every second node
    result  NOT_CONVERGED as of `LearningCoefficient`, at any node
    raises  InputError for a bare function without `inverse_temperature`
    cost    that of `LearningCoefficient` for each of `nodes` couplings

    Attributes:
        inverse_temperature: beta; None for n/log n of n examples.
        coupling: gamma (unit: loss/parameter^2), the stiffness of gamma/2 ||x||^2 beside f.
        nodes: Couplings at which chains are run: 4, 8 or 16.
        sampler: How many draws are made at each.

    Source: Pittorino et al. (2021), equation 1; Baldassi et al. (2015).
    """

    inverse_temperature: float | None = eqx.field(static=True, default=None)
    coupling: float = eqx.field(static=True, default=1.0)
    nodes: int = eqx.field(static=True, default=8)
    sampler: Sampler = Sampler()
    name: ClassVar[str] = "local_entropy"
    unit: ClassVar[str] = "nat"
    dims: ClassVar[tuple[str, ...]] = ()
    title: ClassVar[str] = "local entropy"
    unchanged_by: ClassVar[tuple[str, ...]] = ("translation", "permutation", "rotation")

    def __check_init__(self) -> None:
        require_positive(inverse_temperature=self.inverse_temperature, coupling=self.coupling)
        require(self.nodes in (4, 8, 16), f"nodes came as {self.nodes}; give 4, 8 or 16")

    def taken(self, problem: Problem, params: Params, key: Array) -> Costed:
        beta = temperature_of(problem, self.inverse_temperature)
        u, fine, coarse = clenshaw_curtis(self.nodes)
        localisations = jnp.asarray(beta * self.coupling / u**2)

        def at(given: tuple[Array, Array]) -> tuple[Array, ...]:
            g, key = given
            seen = gibbs_means(problem, params, key, jnp.asarray(beta), g, self.sampler)
            return (*seen.pull, seen.rested, seen.gradients)

        keys = jax.random.split(key, self.nodes)
        pulls, errors, rested, gradients = jax.lax.map(at, (localisations, keys))
        # beta <<x, grad f>>/u: `pulls` hold beta times the gradient already.
        weight, other = (jnp.asarray(w / u, pulls.dtype) for w in (fine, coarse))
        value = -jnp.sum(weight * pulls)
        statistical = jnp.sqrt(jnp.sum((weight * errors) ** 2))
        error = statistical + jnp.abs(value + jnp.sum(other * pulls))
        reading = refused(value, error, jnp.all(rested), problem.objective(params))
        return Costed(reading, jnp.sum(gradients).astype(float))


def clenshaw_curtis(n: int) -> tuple[Float[np.ndarray, " n"], ...]:
    """Nodes in (0, 1], weights, and weights of the rule on every second node (0 between).

    For integrands that are 0 at 0, whose node is left out; n even. Exact for polynomials of degree
    n, and of degree n/2.
    """
    nodes = (1 + np.cos(np.pi * np.arange(n) / n)) / 2

    def weights(every: int) -> np.ndarray:
        k = n // every
        places = np.cos(np.pi * np.arange(k + 1) / k)
        degrees = np.arange(k + 1)
        # int_0^1 of the Chebyshev polynomials of 2 u - 1.
        moments = np.where(
            degrees % 2 == 0, 1 / (1 - degrees.astype(float) ** 2 + (degrees == 1)), 0
        )
        chebyshev = np.cos(degrees[:, None] * np.arccos(places)[None])
        found = np.zeros(n + 1)
        found[::every] = np.linalg.solve(chebyshev, moments)
        return found[:-1]

    return nodes, weights(1), weights(2)


def local_entropy(
    inverse_temperature: float | None = None,
    coupling: float = 1.0,
    nodes: int = 8,
    chains: int = 16,
    draws: int = 200,
    warm_up: int | None = None,
    most_leaps: int = 128,
) -> LocalEntropy:
    """Log-volume of low loss about a point; see `LocalEntropy`.

    Args:
        inverse_temperature: beta.
        coupling: gamma.
        nodes: Couplings that are integrated over, 4, 8 or 16.
        chains: Independent chains at each, at least 4.
        draws: Draws kept of each chain.
        warm_up: Draws before them; None for as many.
        most_leaps: Gradients in a draw at most.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: jnp.sum(x**2) / 2, start=jnp.zeros(2))
        >>> probe = tw.probes.local_entropy(4.0, coupling=1.0)
        >>> value, error, _ = tw.measure(bowl, bowl.start, probe)
        >>> bool(abs(value + jnp.log(2.0)) < 3 * error)  # -1/2 log det(I + H/gamma)
        True
    """
    return LocalEntropy(
        inverse_temperature, coupling, nodes, Sampler(chains, draws, warm_up, most_leaps)
    )
