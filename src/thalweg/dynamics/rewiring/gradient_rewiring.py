"""Gradient rewiring (Grad R): absent connections go on feeling the gradient, and can grow again."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from thalweg.core.ranges import require_positive
from thalweg.core.tree import Params
from thalweg.dynamics.rewiring import hidden_strengths as hidden
from thalweg.dynamics.rewiring.hidden_strengths import Leaf, Mask, Rate, RewiringState
from thalweg.dynamics.rewiring.laplace_prior import laplace_centre


def grad_r(
    learning_rate: Rate,
    alpha: float,
    sparsity: float = 0.95,
    *,
    rule: str = "adam",
    centre: float | None = None,
    accurate: bool = False,
    b1: float = 0.9,
    b2: float = 0.999,
    epsilon: float = 1e-8,
    mask: Mask = None,
    others: optax.GradientTransformation | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Gradient rewiring: weights s max(theta, 0) whose strengths theta move below zero, too.

    theta <- theta - eta (s dL/dw + alpha sign(theta - mu))                           (rule="sgd")
    theta <- theta - eta_t s m/(sqrt(v/(1 - b2^t)) + epsilon) - eta_t alpha sign(theta - mu)
                                                                eta_t = eta/(1 - b1^t)   ("adam")

    dL/dw is taken at w, and of absent connections as well: the derivative as if max(theta, 0) were
    theta. Its angle with the true gradient is at most 90 degrees. m and v are averages of dL/dw and
    its square; the prior is not in them. It begins with every connection present, theta = |w| and
    s = sign(w); a weight of exactly 0 has s = 0 and never moves. Updates are such that w + update
    is s max(theta, 0) to the last bit.

    While all theta > mu the prior is a constant pull: the sparsity asked for then counts for
    nothing, and alpha with the number of steps decides how many connections are left.

    Args:
        learning_rate: eta, or an Optax schedule.
        alpha: Inverse scale of the Laplace prior (unit: 1/parameter), the strength of pruning.
        sparsity: p, the share of the prior's mass below 0, from 1/2 to below 1; it sets mu.
        rule: "adam" or "sgd".
        centre: mu itself, in the place of what p gives.
        accurate: Feed the true gradient instead, which is 0 for absent connections: the ablation.
            A connection that was pruned then stays so (with Adam, from step 5 on).
        b1: Decay of m.
        b2: Decay of v.
        epsilon: Added to the root of v.
        mask: What has connections: a tree of truth values like the parameters, or a function that
            makes it of them; by default the arrays of two or more axes.
        others: An Optax transformation for all else, biases and scales; by default plain Adam or
            descent of the same numbers, without prior.

    Returns:
        A transformation whose update needs the parameters. Its state holds theta and s
        (`RewiringState`), found by `optax.tree_utils.tree_get(state, "strength")`.

    Raises:
        InputError: If a number is out of its range, or nothing is to be wired.

    Cost: that of Adam, and two more arrays of the size of the weights.

    Source: Chen, Yu, Fang, Huang and Tian (2021), algorithm 1.

    Examples:
        >>> import optax
        >>> w = jnp.array([[0.375, -0.0625]])
        >>> rewiring = tw.dynamics.grad_r(0.125, alpha=1.0, rule="sgd")
        >>> u, state = rewiring.update(jnp.zeros((1, 2)), rewiring.init(w), w)
        >>> optax.apply_updates(w, u).tolist()  # 0.0625 - 0.125 is below 0: pruned
        [[0.25, 0.0]]
        >>> optax.tree_utils.tree_get(state, "strength").tolist()
        [[0.25, -0.0625]]
    """
    moved = hidden.rule_of(rule, learning_rate, b1, b2, epsilon)
    require_positive(alpha=alpha)
    mu = laplace_centre(sparsity, alpha) if centre is None else centre

    def init(params: Params) -> RewiringState:
        return hidden.begun(moved, params)

    def update(
        gradient: Params, state: RewiringState, params: Params | None = None
    ) -> tuple[Params, RewiringState]:
        weights = hidden.params_needed(params)
        before = hidden.held(weights, state)
        fed = hidden.only(hidden.alive(before), gradient) if accurate else gradient
        directions, memory = moved.direction.update(fed, state.direction)

        def change(theta: Leaf, s: Leaf, d: Leaf) -> Leaf:
            eta, eta_t = moved.rate(state.step, theta.dtype)
            pull = jnp.sign(theta - jnp.asarray(mu, theta.dtype))
            step = -(eta * (s * d)) - eta_t * jnp.asarray(alpha, theta.dtype) * pull
            return jnp.where(s == 0, jnp.zeros_like(step), step)

        changes = jax.tree.map(change, before, state.sign, directions)
        after = jax.tree.map(jnp.add, before, changes)
        updates = hidden.realised(weights, before, after, changes, state.sign)
        return updates, RewiringState(state.step + 1, after, state.sign, memory)

    core = optax.GradientTransformation(init, update)
    return hidden.with_others(core, moved.plain if others is None else others, mask)
