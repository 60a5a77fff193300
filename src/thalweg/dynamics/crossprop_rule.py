"""Crossprop: hidden weights learn from how they steered the learning of the output weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from thalweg.core.arguments import misfit, told
from thalweg.core.errors import InputError, require, unknown
from thalweg.core.result import finite
from thalweg.core.tree import Params
from thalweg.dynamics.descent import nearest_count
from thalweg.dynamics.dynamics import Continuous, Discrete, Info, State, fresh, step_size_array
from thalweg.dynamics.stability import StabilityRule, no_rule
from thalweg.models.dense import MLP
from thalweg.models.model import activation
from thalweg.models.starts import Restarted
from thalweg.problems.problem import Problem, Supervised

TRACES = ("diagonal", "factored", "exact")
DECAYS = ("loss", "lms")
NO_GRADIENT = (
    "its hidden layer follows a gradient of the objective at mix=1 alone, which is gradient descent"
)


class Crossprop(Discrete):
    """Descent of the output layer; the hidden one follows the error through that descent, too.

    Of examples x with features phi = s(U x + c), outputs z = W phi + b, errors
    e = -d loss/d z, gamma_ij = d phi_j/d u_ij, step sizes eta (output layer) and eta_U:

        w_kj <- w_kj + eta e_k phi_j,                      b_k <- b_k + eta e_k,
        u_ij <- u_ij + eta_U sum_k e_k (a sum_l phi_l H_kl,ij + d w_kj gamma_ij),

    where H_kl,ij = d w_kl/d u_ij, u held constant in time, is carried from step to step. "exact"
    carries all of it; "diagonal" only h_ijk = H_kj,ij,

        h_ijk <- h_ijk (1 - a eta c_k phi_j^2) + eta (e_k - d c_k phi_j w_kj) gamma_ij,

    with c_k the second derivative of the loss in z_k; "factored" one number for each output weight,

        h_jk <- h_jk (1 - a eta c_k phi_j^2) + eta (e_k - d c_k phi_j w_kj),

    so that h_ijk = h_jk gamma_ij with the gamma of the present example. Products are summed over
    the examples that a step sees, or averaged where the objective is a mean. a = 0, d = 1 is
    gradient descent; a = 1, d = 0 is crossprop; a = d = 1 differentiates the present error through
    all of the past (with "exact", exactly). All right-hand sides are of before the step.
    Deterministic. Step k sits at training time k eta.

    Attributes:
        step_size: eta.
        feature_step_size: eta_U.
        history: a.
        direct: d.
        trace: One of `TRACES`. Memory in numbers: hidden x inputs x outputs, hidden x outputs, and
            (hidden x outputs) x (hidden x inputs).
        decay: "loss" for c_k as above, "lms" for c_k = 1 whatever the loss.

    Cost: one gradient a step, and work in the size of the trace. Source: Veeriah, Zhang and Sutton
    (2017); its weights (a, d) = (1 - lambda, lambda) are those of the public code.
    """

    step_size: Float[Array, ""] = eqx.field(converter=step_size_array)
    feature_step_size: Float[Array, ""] = eqx.field(converter=step_size_array)
    history: Float[Array, ""]
    direct: Float[Array, ""]
    trace: str = eqx.field(static=True, default="diagonal")
    decay: str = eqx.field(static=True, default="loss")

    @property
    def name(self) -> str:
        return {"diagonal": "crossprop"}.get(self.trace, f"{self.trace} crossprop")

    def init(self, problem: Problem, params: Params) -> State:
        hidden_layer(problem)
        first, last = params
        outputs, width = last["weight"].shape
        kind = last["weight"].dtype
        if self.trace == "factored":
            return fresh(params, jnp.zeros((width, outputs), kind))
        rows = width + ("bias" in last)

        def zeros(leaf: Array) -> Array:
            exact = self.trace == "exact"
            # The hidden units come last in the diagonal trace: they are many, and vectorise.
            shape = (outputs, rows, *leaf.shape) if exact else (outputs, *leaf.shape[:0:-1], width)
            return jnp.zeros(shape, kind)

        return fresh(params, {name: zeros(leaf) for name, leaf in first.items()})

    def step(self, problem: Problem, state: State, key: Array) -> tuple[State, Info]:
        after, info = self.carried_step(problem, self.carried(state), key)
        return self.released(after), info

    def carried(self, state: State) -> State:
        """Hidden units last in the hidden layer's parameters, too: see `init`."""
        first, last = state.params
        return state._replace(params=[{name: leaf.T for name, leaf in first.items()}, last])

    def released(self, state: State) -> State:
        return self.carried(state)  # turned back

    def carried_step(
        self, problem: Problem, state: State, key: Array, draw: Any = None
    ) -> tuple[State, Info]:
        first, last = state.params
        kind = last["weight"].dtype
        seen = _look(problem, self.released(state).params, self.decay)
        by = _Weights(
            *(
                number.astype(kind)
                for number in (self.step_size, self.feature_step_size, self.history, self.direct)
            )
        )
        hidden, trace = RULES[self.trace](seen, first, last, state.memory, by)
        moved = {"weight": last["weight"] + by.step_size * seen.error.T @ seen.features}
        if "bias" in last:
            moved["bias"] = last["bias"] + by.step_size * jnp.sum(seen.error, axis=0)
        count = state.step + 1
        after = state._replace(
            params=[hidden, moved],
            time=count.astype(jnp.float64) * self.step_size,
            step=count,
            evaluations=state.evaluations + 1,
            result=jnp.maximum(state.result, finite(seen.loss)),
            memory=trace,
        )
        return after, Info(seen.loss)

    def clock(self, steps: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return np.asarray(steps) * float(self.step_size)

    def steps_until(self, time: float) -> int:
        return nearest_count(time, float(self.step_size))

    def stability(self, problem: Problem, params: Params) -> StabilityRule:
        return no_rule(NO_GRADIENT)

    def limit(self, problem: Problem, params: Params) -> Continuous | None:
        return None

    def without_limit(self, problem: Problem, params: Params) -> str:
        return NO_GRADIENT


class _Weights(NamedTuple):
    """eta, eta_U, a and d in the precision of the parameters."""

    step_size: Array
    feature_step_size: Array
    history: Array
    direct: Array


class _Look(NamedTuple):
    """What a step knows of n examples: of each one its share of the objective's derivatives.

    Attributes:
        loss: The objective.
        given: Inputs of the hidden layer's parameters by name: x (n, inputs), and 1 (n,).
        features: phi (n, width).
        slope: s'(U x + c) (n, width).
        error: -d objective/d z (n, outputs), that of a mean divided by n.
        curvature: d^2 objective/d z^2 (n, outputs, outputs), likewise.
    """

    loss: Float[Array, ""]
    given: dict[str, Array]
    features: Float[Array, "n width"]
    slope: Float[Array, "n width"]
    error: Float[Array, "n outputs"]
    curvature: Float[Array, "n outputs outputs"]


def hidden_layer(problem: Problem) -> tuple[Supervised, MLP]:
    """The problem and its model, if that is a dense net with one hidden layer.

    Raises:
        InputError: If it is not.
    """
    known = problem if isinstance(problem, Supervised) and problem.plain else None
    model = None if known is None else known.model
    while isinstance(model, Restarted):
        model = model.model
    if known is None or not isinstance(model, MLP) or len(model.hidden) != 1:
        what = type(problem).__name__ if model is None else repr(model)
        raise InputError(
            f"crossprop came with {what}; it needs examples, and a dense net with one hidden "
            "layer and no other term beside the loss: tw.models.mlp([64])"
        )
    return known, model


def _look(problem: Problem, params: Params, decay: str) -> _Look:
    known, model = hidden_layer(problem)
    first, last = params
    n = len(known.inputs)
    x = known.inputs.reshape(n, -1)
    given = {"weight": x}
    net = x @ first["weight"].T
    if "bias" in first:
        net = net + jnp.broadcast_to(first["bias"], net.shape)
        given["bias"] = jnp.ones(n, x.dtype)
    function = activation(model.activation).function
    features, slope = jax.jvp(function, (net,), (jnp.ones_like(net),))
    z = features @ last["weight"].T
    if "bias" in last:
        z = z + jnp.broadcast_to(last["bias"], z.shape)
    share = 1 / n if known.reduction == "mean" else 1.0
    losses, slopes = jax.vmap(jax.value_and_grad(known.loss.one))(z, known.targets)
    if decay == "loss":
        bends = jax.vmap(jax.hessian(known.loss.one))(z, known.targets)
    else:
        bends = jnp.broadcast_to(jnp.eye(z.shape[1], dtype=z.dtype), (*z.shape, z.shape[1]))
    return _Look(share * jnp.sum(losses), given, features, slope, -share * slopes, share * bends)


def _backpropagated(seen: _Look, last: Params) -> dict[str, Array]:
    """-d objective/d u: what the present output weights say alone, hidden units last."""
    back = (seen.error @ last["weight"]) * seen.slope
    return {name: _outer(given, back) for name, given in seen.given.items()}


def _outer(given: Array, back: Float[Array, "n width"]) -> Array:
    """sum_n given_n... back_nj: (..., width), shaped as the parameters that are carried."""
    return jnp.tensordot(given, back, axes=(0, 0))


def _diagonal(
    seen: _Look, first: Params, last: Params, trace: dict[str, Array], by: _Weights
) -> tuple[Params, dict[str, Array]]:
    """Traces (outputs, inputs, width), those of biases (outputs, width)."""
    curvature = jnp.diagonal(seen.curvature, axis1=1, axis2=2)  # (n, outputs)
    # What each unit needs is divided by 1/eta, not multiplied by eta: XLA does not repeat a
    # division for every input of the unit, as it would repeat all products below.
    rate, own = 1 / by.step_size, 1 / by.feature_step_size
    steered = by.history * seen.error.T @ seen.features / own  # (outputs, width)
    kept = 1 - by.history * curvature.T @ seen.features**2 / rate
    back = by.direct * (seen.error @ last["weight"]) * seen.slope / own
    # e_k - d c_k phi_j w_kj for each example, times s'.
    drive = (
        (
            seen.error[:, :, None]
            - by.direct * curvature[:, :, None] * seen.features[:, None] * last["weight"][None]
        )
        * seen.slope[:, None]
        / rate
    )
    hidden, after = {}, {}
    for name, given in seen.given.items():
        h = trace[name]

        def over(array: Array, h: Array = h) -> Array:
            """(..., width) beside every input."""
            return array.reshape(*array.shape[:-1], *(1,) * (h.ndim - 2), array.shape[-1])

        hidden[name] = first[name] + jnp.sum(over(steered) * h, axis=0) + _outer(given, back)
        # Without a word on the order of both updates the trace would be copied before its own.
        then = 0 * hidden[name].reshape(-1)[0]
        after[name] = h * over(kept) + jnp.einsum("nkj,n...->k...j", drive, given) + then
    return hidden, after


def _factored(
    seen: _Look, first: Params, last: Params, trace: Array, by: _Weights
) -> tuple[Params, Array]:
    curvature = jnp.diagonal(seen.curvature, axis1=1, axis2=2)
    back = _backpropagated(seen, last)
    steered = seen.features * (seen.error @ trace.T) * seen.slope
    hidden = {
        name: first[name]
        + by.feature_step_size * (by.history * _outer(given, steered) + by.direct * back[name])
        for name, given in seen.given.items()
    }
    kept = 1 - by.history * by.step_size * (seen.features**2).T @ curvature
    drive = jnp.sum(seen.error, axis=0)[None] - by.direct * (
        (seen.features.T @ curvature) * last["weight"].T
    )
    return hidden, trace * kept + by.step_size * drive


def _exact(
    seen: _Look, first: Params, last: Params, trace: dict[str, Array], by: _Weights
) -> tuple[Params, dict[str, Array]]:
    features, width = seen.features, seen.features.shape[1]
    if "bias" in last:
        features = jnp.concatenate([features, jnp.ones((len(features), 1), features.dtype)], axis=1)
    hidden, after = {}, {}
    for name, given in seen.given.items():
        past = jnp.einsum("nl,klj...->nkj...", features, trace[name])
        gamma = jnp.einsum("nj,n...->nj...", seen.slope, given)
        present = jnp.einsum("kj,nj...->nkj...", last["weight"], gamma)
        turned = by.history * past + by.direct * present  # d z_k/d u_ij
        move = jnp.einsum("nk,nkj...->j...", seen.error, turned)
        hidden[name] = first[name] + by.feature_step_size * move.T
        bent = jnp.einsum("nkm,nmj...->nkj...", seen.curvature, turned)
        own = jnp.einsum("nk,nj...->kj...", seen.error, gamma)
        at = jnp.arange(width)
        grown = jnp.zeros_like(trace[name]).at[:, at, at].set(own)
        after[name] = trace[name] + by.step_size * (
            grown - jnp.einsum("nl,nkj...->klj...", features, bent)
        )
    return hidden, after


RULES: dict[str, Callable[..., tuple[dict[str, Array], Params]]] = {
    "diagonal": _diagonal,
    "factored": _factored,
    "exact": _exact,
}


def crossprop(
    step_size: float | Array,
    mix: float | str = 0.0,
    *,
    trace: str = "diagonal",
    decay: str = "loss",
    feature_step_size: float | Array | None = None,
) -> Crossprop:
    """Crossprop on a net with one hidden layer; see `Crossprop`.

    Args:
        step_size: eta.
        mix: lambda in [0, 1]: 0 is crossprop, 1 is gradient descent, between them the weights are
            (a, d) = (1 - lambda, lambda); "sum" gives both the weight 1.
        trace: "diagonal", "factored" (a memory of the size of the output layer), or "exact".
        decay: "loss", or "lms" for traces that forget as those of squared error.
        feature_step_size: eta_U; None for eta.

    Raises:
        InputError: If an argument is none of these.

    Examples:
        >>> problem = tw.problems.supervised(tw.models.mlp([8]), (np.eye(3), np.ones((3, 1))))
        >>> path = tw.run(problem, tw.dynamics.crossprop(0.05), until=0.1, records=2)
        >>> U = path.parameters.values[0, :, :24]  # the weights of the hidden layer
        >>> bool((U[1] == U[0]).all()), bool((U[2] == U[1]).any())  # its trace starts at zero
        (True, False)
    """
    require(trace in TRACES, unknown(trace, TRACES, "trace"))
    require(decay in DECAYS, unknown(decay, DECAYS, "decay"))
    eta = step_size_array(step_size)
    own = eta if feature_step_size is None else step_size_array(feature_step_size)
    if isinstance(mix, str):
        require(mix == "sum", f"mix came as {mix!r}; give a number from 0 to 1, or 'sum'")
        a, d = 1.0, 1.0
    else:
        number = not misfit(mix, float) and 0 <= mix <= 1
        require(number, f"mix came as {told(mix)}; give a number from 0 to 1, or 'sum'")
        a, d = 1.0 - mix, float(mix)
    weights = jnp.asarray(a, jnp.float64), jnp.asarray(d, jnp.float64)
    return Crossprop(eta, own, *weights, trace, decay)
