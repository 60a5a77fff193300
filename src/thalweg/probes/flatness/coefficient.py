"""The local learning coefficient: how the volume of low loss about a point shrinks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from thalweg.core.errors import InputError, require
from thalweg.core.ranges import require_positive
from thalweg.core.tree import Params
from thalweg.probes.flatness.gibbs import OfChains, Sampler, gibbs_means, refused
from thalweg.probes.flatness.measure import Costed
from thalweg.problems.problem import Problem, Supervised


class LearningCoefficient(OfChains):
    """t E (f(theta + x) - f(theta)), x ~ exp(-t f(theta + x) - g/2 ||x||^2), at one temperature.

    At a minimum it tends, as t grows, to the coefficient lambda of singular learning theory, half
    the number of parameters where the Hessian has full rank; at a finite t it is the mean itself,
    lower by about (m - 1)/log t where the multiplicity m is above 1. `learning_coefficients` fits
    several t. A negative mean, as -t^2 s^2/g on a slope s, says that the point is no minimum: it
    is a mean like any other, and no coefficient of anything.

    value   (), 1; NaN where the chains have not come to rest: no number is better than a wrong one
    error   (), standard error from the means of the independent chains, widened for few chains;
            infinite where there is no value
    result  NOT_CONVERGED where R-hat is above 1.05, fewer than 100 effective draws were made, or
            the virial theorem is missed by four errors (`thalweg.probes.flatness.gibbs`)
    raises  InputError for a bare function without `inverse_temperature`
    cost    chains (draws + warm_up) leaps gradients, leaps as many as the stiffest direction asks:
            about 2 sqrt(1 + t lambda_max/g), at most `most_leaps`

    Attributes:
        inverse_temperature: t; None for n/log n of n examples (mean loss; 1/log n of a sum).
        localisation: g (unit: 1/parameter^2).
        sampler: How many draws are made.

    Source: Lau, Furman, Wang, Murfet and Wei (2023); Watanabe (2013) for the temperature.
    """

    inverse_temperature: float | None = eqx.field(static=True, default=None)
    localisation: float = eqx.field(static=True, default=100.0)
    sampler: Sampler = Sampler()
    name: ClassVar[str] = "learning_coefficient"
    unit: ClassVar[str] = "1"
    dims: ClassVar[tuple[str, ...]] = ()
    title: ClassVar[str] = "local learning coefficient"
    unchanged_by: ClassVar[tuple[str, ...]] = ("translation", "permutation", "rotation")

    def __check_init__(self) -> None:
        require_positive(
            inverse_temperature=self.inverse_temperature, localisation=self.localisation
        )

    def taken(self, problem: Problem, params: Params, key: Array) -> Costed:
        t = temperature_of(problem, self.inverse_temperature)
        seen = gibbs_means(
            problem, params, key, jnp.asarray(t), jnp.asarray(self.localisation), self.sampler
        )
        reading = refused(*seen.rise, seen.rested, problem.objective(params))
        return Costed(reading, seen.gradients.astype(float))


def temperature_of(problem: Problem, given: float | None) -> float:
    """The inverse temperature that was given, or n/log n over the weight of an example.

    Raises:
        InputError: If none was given and the problem has no examples, or fewer than three.
    """
    if given is not None:
        return given
    n = len(problem.inputs) if isinstance(problem, Supervised) else 0
    if n < 3:
        raise InputError(
            "the inverse temperature n/log n needs a problem with three examples or more; give "
            "inverse_temperature=, as 100.0"
        )
    assert isinstance(problem, Supervised)
    return (n if problem.reduction == "mean" else 1) / math.log(n)


def learning_coefficient(
    inverse_temperature: float | None = None,
    localisation: float = 100.0,
    chains: int = 16,
    draws: int = 200,
    warm_up: int | None = None,
    most_leaps: int = 128,
) -> LearningCoefficient:
    """The local learning coefficient at one temperature; see `LearningCoefficient`.

    Args:
        inverse_temperature: t.
        localisation: g.
        chains: Independent chains, at least 4.
        draws: Draws kept of each.
        warm_up: Draws before them; None for as many.
        most_leaps: Gradients in a draw at most.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: jnp.sum(x**2) / 2, start=jnp.zeros(3))
        >>> probe = tw.probes.learning_coefficient(1000.0, localisation=1.0, chains=32)
        >>> value, error, _ = tw.measure(bowl, bowl.start, probe)
        >>> bool(abs(value - 1.5 * 1000 / 1001) < 3 * error)  # half the parameters
        True
    """
    sampler = Sampler(chains, draws, warm_up, most_leaps)
    return LearningCoefficient(inverse_temperature, localisation, sampler)


class LearningCoefficients(NamedTuple):
    """Means at several temperatures, and what they tend to.

    Attributes:
        inverse_temperatures: t, ascending.
        values: The means, NaN where the chains have not come to rest.
        errors: Their standard errors.
        results: A `Result` code each.
        r_hats: R-hat.
        sizes: Effective numbers of draws.
        virials: Errors by which the virial theorem is missed.
        coefficient: lambda, fitted to all; NaN where it cannot be told.
        error: Of lambda, from the errors of the means alone.
        multiplicity: m, the least that fits; 0 where none does.
        gradients: Spent in all.
    """

    inverse_temperatures: Float[np.ndarray, " k"]
    values: Float[np.ndarray, " k"]
    errors: Float[np.ndarray, " k"]
    results: Int[np.ndarray, " k"]
    r_hats: Float[np.ndarray, " k"]
    sizes: Float[np.ndarray, " k"]
    virials: Float[np.ndarray, " k"]
    coefficient: float
    error: float
    multiplicity: int
    gradients: int


def learning_coefficients(
    problem: Problem,
    params: Params,
    key: Array,
    inverse_temperatures: Sequence[float],
    localisation: float = 1.0,
    chains: int = 16,
    draws: int = 200,
    warm_up: int | None = None,
    most_leaps: int = 256,
) -> LearningCoefficients:
    """The local learning coefficient from several temperatures, with its multiplicity.

    The means v(t) of `LearningCoefficient` are fitted by v = lambda - (m - 1)/(log t + c), the law
    of -d log Z/d log t for Z = t^-lambda (log t + c)^(m - 1): the least m up to 4 whose fit is
    within three errors at every t.

    Args:
        problem: What is measured.
        params: About which point.
        key: For all chains.
        inverse_temperatures: Two or more t; three or more to tell m above 1.
        localisation: g.
        chains: As of `learning_coefficient`.
        draws: As of `learning_coefficient`.
        warm_up: As of `learning_coefficient`.
        most_leaps: As of `learning_coefficient`.

    Raises:
        InputError: If fewer than two temperatures came, or a number is out of its range.

    Error: That of lambda comes from the means' errors; what other terms of the law add at these t
    is not in it.
    Cost: That of `LearningCoefficient` at each t, one program for all.
    Source: Watanabe (2009), theorem 7.1 for the law.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: jnp.sum(x**2) / 2, start=jnp.zeros(2))
        >>> found = tw.probes.learning_coefficients(
        ...     bowl, bowl.start, jax.random.key(0), (1e3, 1e4), draws=100, most_leaps=128
        ... )
        >>> bool(abs(found.coefficient - 1) < 3 * found.error), found.multiplicity
        (True, 1)
    """
    times = np.sort(np.asarray(list(inverse_temperatures), float))
    require(
        len(times) >= 2 and bool(np.all((times > 0) & np.isfinite(times))),
        f"inverse_temperatures came as {times.tolist()}; give two positive numbers or more",
    )
    require_positive(localisation=localisation)
    sampler = Sampler(chains, draws, warm_up, most_leaps)
    found = _at_all(problem, params, key, jnp.asarray(times), jnp.asarray(localisation), sampler)
    readings, seen = jax.tree.map(np.asarray, found)
    fit = fitted_coefficient(times, readings.value, readings.error)
    return LearningCoefficients(
        times, readings.value, readings.error, readings.result, seen.r_hat, seen.size, seen.virial,
        *fit, int(np.sum(seen.gradients)),
    )  # fmt: skip


@eqx.filter_jit
def _at_all(
    problem: Problem,
    params: Params,
    key: Array,
    times: Array,
    localisation: Array,
    sampler: Sampler,
) -> Any:
    def at(given: tuple[Array, Array]) -> Any:
        t, key = given
        seen = gibbs_means(problem, params, key, t, localisation, sampler)
        return refused(*seen.rise, seen.rested, problem.objective(params)), seen

    return jax.lax.map(at, (times, jax.random.split(key, len(times))))


def fitted_coefficient(
    times: Float[np.ndarray, " k"], values: Float[np.ndarray, " k"], errors: Float[np.ndarray, " k"]
) -> tuple[float, float, int]:
    """lambda, its error and m from means at several t; see `learning_coefficients`.

    Returns:
        (NaN, infinity, 0) where a mean is missing, or no m up to 4 fits within three errors.
    """
    none = (math.nan, math.inf, 0)
    if not np.all(np.isfinite(values) & np.isfinite(errors)):
        return none
    errors = np.maximum(errors, 1e-12)
    weights = errors**-2
    for m in range(1, 5 if len(times) >= 3 else 2):
        shifts = np.array([0.0]) if m == 1 else np.geomspace(1e-2, 1e2, 4001) - np.log(times[0])
        bends = np.zeros((1, len(times)))
        if m > 1:
            bends = (m - 1) / (np.log(times)[None] + shifts[:, None])
        lambdas = (values[None] + bends) @ weights / weights.sum()
        misfits = (values[None] + bends - lambdas[:, None]) / errors
        squares = (misfits**2).sum(axis=1)
        best = int(np.argmin(squares))
        if np.all(np.abs(misfits[best]) <= 3):
            near = squares <= squares[best] + 1  # one error, with c left free
            spread = np.ptp(lambdas[near]) / 2
            return float(lambdas[best]), float(max(spread, weights.sum() ** -0.5)), m
    return none
