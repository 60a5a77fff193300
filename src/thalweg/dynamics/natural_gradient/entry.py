"""K-FAC with its switches, as a dynamics and as an Optax transformation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from thalweg.core.arguments import misfit, told
from thalweg.core.behaviour import traced
from thalweg.core.errors import require, unknown
from thalweg.core.ranges import require_from_zero, require_positive, require_share
from thalweg.core.tree import Params
from thalweg.curvature.kronecker.factors import TARGETS
from thalweg.curvature.kronecker.fisher import STRUCTURES
from thalweg.dynamics.dynamics import State
from thalweg.dynamics.natural_gradient.kronecker import KFAC
from thalweg.dynamics.natural_gradient.preconditioning import STEPS_KEPT
from thalweg.problems.problem import Problem

Setting = float | Callable[[Any], Any] | None


def kfac(
    damping: Setting = None,
    *,
    learning_rate: Setting = None,
    momentum: Setting = None,
    structure: str = "diagonal",
    targets: str = "sampled",
    samples: int = 1,
    damping_decay: float | None = 0.9,
    damping_period: int = 5,
    least_damping: float = 1e-8,
    gamma_decay: float | None = None,
    gamma_period: int = 20,
    refresh: int | None = None,
    average: float = 0.95,
    norm_constraint: float | None = None,
    polyak: float | None = None,
    reject: bool = True,
    damped_model: bool = True,
    factor_examples: int | None = None,
    model_examples: int | None = None,
    history: int = 0,
) -> KFAC:
    """K-FAC: steps along the natural gradient of Kronecker factors, rescaled by the exact Fisher.

        delta = alpha Delta + mu delta_0,    Delta = -(A + pi gamma I)^-1 (x) (G + gamma/pi I)^-1 g

    layer by layer, delta_0 the last step, alpha and mu where the exact quadratic model of the
    objective is least. Layers of any model are found in its trace, as
    `tw.curvature.kronecker_layers` tells. Weight decay is that of `tw.problems.Decayed`, and counts
    in the damping. All of a step is one compiled program about one forward pass; settings that are
    numbers may be mapped over.

    With the defaults nothing need be tuned: at the first step eight dampings from 1e-4 to 1e3 mean
    curvatures are tried on the objective itself and the best is kept; from then on lambda follows
    the ratio of true to foretold change. The paper's own constants are `kfac(150, damping_decay=
    0.95, gamma_decay=0.9747, refresh=20, targets="sampled")`.

    Args:
        damping: lambda at the start (unit: loss/parameter^2); None for the line of trials; a
            function of the step for a schedule, which is then kept.
        learning_rate: alpha, a number or a function of the step; None for the model's.
        momentum: mu; None for the model's, 0 for none, which saves a pass forward.
        structure: "diagonal", "tridiagonal" (dense layers only) or "eigenvalues" (EKFAC:
            diagonal in the eigenbasis of the factors, with entries measured there).
        targets: "sampled" from the model, "exact" (k passes backward) or "empirical" (the data's).
        samples: Draws of targets for every example.
        damping_decay: omega: a look multiplies or divides lambda by omega^T1; None keeps lambda.
        damping_period: T1, steps between looks at lambda, each a value of the objective.
        least_damping: No lambda below.
        gamma_decay: Search gamma among gamma and gamma times or over this to the T2; None ties
            gamma = sqrt(lambda + weight decay).
        gamma_period: T2, steps between searches.
        refresh: T3, steps between inversions; each search makes its own. Of EKFAC steps for which a
            basis is kept; the averages of eigenvalues are measured at each and go on from basis to
            basis. None for 1, and for 20 of EKFAC.
        average: Largest weight of the past in the moving average, min(1 - 1/k, average) at step k.
        norm_constraint: Bound of delta^T (F + lambda I) delta.
        polyak: Weight of the past in an average of iterates, told as `evaluation_loss`.
        reject: Whether a step that a look finds to raise the objective is not taken.
        damped_model: Whether lambda is in the foretold change that the ratio is taken of.
        factor_examples: How many examples of a batch factors are taken of, others at each step, so
            that their averages are of all; None for an eighth, 256 at least. Above the batch: all.
        model_examples: How many, likewise, the exact model is taken of; None for all.
        history: Past steps whose changes of the gradient correct the inverse, as those of L-BFGS,
            from step 1/(1 - average) on and where two gradients in a row are of the same examples.
            10 often save a part of the steps, and cost some on larger nets far from the end. Each
            keeps two times the parameters.

    Returns:
        A dynamics; for mini-batches `tw.dynamics.noisy(tw.kfac(), tw.oracles.minibatch(256))`.

    Raises:
        InputError: If a setting is out of its range; at the start of a run, if the problem has no
            examples, its loss is no likelihood, or the net does not allow the structure.

    Cost: about 2.5 gradients a step, and a factorisation of each factor.
    Source: Martens and Grosse (2015, arXiv 1503.05671).

    Examples:
        >>> x, y = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]]), np.array([[1.0], [3.0], [5.0]])
        >>> line = tw.problems.supervised(tw.models.linear([]), (x, y))
        >>> path = tw.run(line, tw.kfac(), until=20, records=1)
        >>> np.round(path.dataset["parameters"].values[0, -1], 4).tolist()  # y = 1 + 2 x
        [1.0, 2.0]
    """
    require(structure in STRUCTURES, unknown(structure, STRUCTURES, "structure"))
    require(targets in TARGETS, unknown(targets, TARGETS, "choice of targets"))
    require_positive(
        damping=_unless_scheduled(damping),
        learning_rate=_unless_scheduled(learning_rate),
        norm_constraint=norm_constraint,
    )
    require_share(momentum=_unless_scheduled(momentum), polyak=polyak, average=average)
    require_from_zero(least_damping=least_damping)
    for name, value in (("damping_decay", damping_decay), ("gamma_decay", gamma_decay)):
        require(
            value is None or traced(value) or (not misfit(value, float) and 0 < value < 1),
            f"{name} came as {told(value)}; give a number between 0 and 1, as 0.95, or None",
        )
    refresh = STEPS_KEPT.get(structure, 1) if refresh is None else refresh
    counts = {
        "samples": samples,
        "damping_period": damping_period,
        "gamma_period": gamma_period,
        "refresh": refresh,
    }
    require(
        not misfit(history, int) and history >= 0,
        f"history came as {told(history)}; give a whole number from 0 on",
    )
    some = {"factor_examples": factor_examples, "model_examples": model_examples}
    for name, count in (counts | {n: c for n, c in some.items() if c is not None}).items():
        require(
            not misfit(count, int) and count >= 1,
            f"{name} came as {told(count)}; give a whole number of at least 1",
        )
    settings: dict[str, Any] = {
        "damping": damping,
        "learning_rate": learning_rate,
        "momentum": momentum,
        "damping_decay": damping_decay,
        "damping_period": damping_period,
        "least_damping": least_damping,
        "gamma_decay": gamma_decay,
        "gamma_period": gamma_period,
        "average": average,
        "norm_constraint": norm_constraint,
        "polyak": polyak,
    }
    return KFAC(
        **settings,
        refresh=int(refresh),
        structure=structure,
        targets=targets,
        samples=int(samples),
        reject=reject,
        damped_model=damped_model,
        factor_examples=factor_examples,
        model_examples=model_examples,
        pairs=int(history),
        without_momentum=isinstance(momentum, int | float) and momentum == 0,
    )


class KFACState(NamedTuple):
    """The state of `optax_kfac`.

    Attributes:
        inner: That of the dynamics; its parameters are where the last step led.
        key: Of the sampled targets.
    """

    inner: State
    key: Array


def optax_kfac(
    problem: Problem, dynamics: KFAC | None = None, seed: int = 0
) -> optax.GradientTransformationExtraArgs:
    """K-FAC as an Optax transformation, for a training loop of one's own.

    `update(gradient, state, params)` gives the step of `kfac` with the gradient in place of the
    problem's own; the update holds the learning rate, so nothing need follow it in a chain. What it
    costs beside the gradient, a forward and a backward pass, it takes of the problem.

    Args:
        problem: Gives the examples, the loss and the weight decay. Another one, as a mini-batch of
            the same shapes (`problem.on(index)`), may be given to each update: `problem=`.
        dynamics: `tw.kfac(...)`; its defaults if None.
        seed: Of the sampled targets.

    Raises:
        InputError: If the problem has no examples, or the parameters are left out of an update.

    Examples:
        >>> import optax
        >>> data = (np.diag([1.0, 2.0]), np.ones((2, 1)))
        >>> problem = tw.problems.supervised(tw.models.linear([]), data)
        >>> params, transform = problem.init(jax.random.key(0)), tw.dynamics.optax_kfac(problem)
        >>> state = transform.init(params)
        >>> for _ in range(10):
        ...     gradient = jax.grad(problem.objective)(params)
        ...     updates, state = transform.update(gradient, state, params)
        ...     params = optax.apply_updates(params, updates)
        >>> params[0]["weight"].round(4).tolist()
        [[1.0, 0.5]]
    """
    made = kfac() if dynamics is None else dynamics

    def init(params: Params) -> KFACState:
        return KFACState(made.init(problem, params), jax.random.key(seed))

    def update(
        updates: Params, state: KFACState, params: Params = None, **extra: Any
    ) -> tuple[Params, KFACState]:
        require(params is not None, "update needs the parameters: update(gradient, state, params)")
        here = state.inner._replace(params=params)
        key = jax.random.fold_in(state.key, here.step)
        after, _ = made.guided_step(extra.get("problem", problem), here, key, updates)
        return jax.tree.map(jnp.subtract, after.params, params), KFACState(after, state.key)

    return optax.GradientTransformationExtraArgs(init, update)


def _unless_scheduled(setting: Setting) -> Any:
    """A setting that is a number; None for a function of the steps taken."""
    return None if callable(setting) else setting
