"""How large an operator recurrent net can get, and how fast its outputs can change."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.errors import require
from thalweg.core.tree import Params
from thalweg.models.model import activation
from thalweg.models.operator_recurrent import OperatorRecurrent

# 1-Lipschitz with phi(0) = 0, beside the positively homogeneous ones.
CONTRACTIONS = ("tanh", "elu", "sin")


class LayerBounds(NamedTuple):
    """Upper bounds for the state after each layer, index l from 0 to L, in Euclidean norm.

    Attributes:
        norms: H_l >= ||h_l|| for every X with ||X|| <= M.
        lipschitz: K_l >= ||h_l(X) - h_l(X')|| / ||X - X'||, both within M.
        changes: D_l >= ||h_l - h'_l|| between two sets of parameters; 0 where one was given.
        outputs: The same three for the outputs, behind the readout if there is one.
    """

    norms: Float[Array, " states"]
    lipschitz: Float[Array, " states"]
    changes: Float[Array, " states"]
    outputs: Float[Array, "3"]


def layer_bounds(
    model: OperatorRecurrent,
    params: Params,
    operator_norm: float | Array,
    other: Params | None = None,
) -> LayerBounds:
    """Bounds on the states of a net, by induction over its layers.

    With a = ||A0|| + c ||A1||, b = ||B0|| + c ||B1||, beta = ||b0|| + c ||b1||, c the Lipschitz
    constant of phi,

        H_l = beta_l + (a_l + b_l M) H_(l-1),              H_0 = ||h_0||,
        K_l = (a_l + b_l M) K_(l-1) + b_l H_(l-1),         K_0 = 0,
        D_l = (a'_l + b'_l M) D_(l-1) + d beta_l + (d a_l + d b_l M) H_(l-1),   D_0 = 0,

    a' and b' being those of the other parameters, d that of the difference.

    Args:
        model: The net.
        params: Its parameters.
        operator_norm: M, at least the spectral norm of every X.
        other: Other parameters, to bound how far the states are apart; None for none.

    Returns:
        `LayerBounds`, kind: upper. Loose: they multiply norms, which signs could undo.

    Raises:
        InputError: If phi(0) is not 0, or its Lipschitz constant not known.

    Cost: a singular value of each matrix.

    Source: derived; de Hoop, Lassas and Wong (2019) bound both likewise.

    Examples:
        >>> from thalweg.theory.operator_nets.operator_bounds import layer_bounds
        >>> net = tw.models.OperatorRecurrent(2, activation=None, tied=True, readout=False)
        >>> params = [{"A0": jnp.eye(1), "B0": -jnp.eye(1), "b0": jnp.ones(1)}]
        >>> layer_bounds(net, params, 0.5).norms.round(6).tolist()  # 1 + 1.5 H
        [0.0, 1.0, 2.5]
    """
    M = jnp.asarray(operator_norm)
    c = _lipschitz(model)
    rows = _rows(model, params, c)
    there = rows if other is None else _rows(model, other, c)
    apart = [jnp.zeros(3) if other is None else row for row in _rows(model, params, c, minus=other)]
    start = jnp.zeros(()) if model.first is None else jnp.linalg.norm(model.first)
    H, K, D = [start], [jnp.zeros(())], [jnp.zeros(())]
    for (a, b, beta), (a2, b2, _), (da, db, dbeta) in zip(rows, there, apart, strict=True):
        D.append((a2 + b2 * M) * D[-1] + dbeta + (da + db * M) * H[-1])
        K.append((a + b * M) * K[-1] + b * H[-1])
        H.append(beta + (a + b * M) * H[-1])
    last = jnp.stack([H[-1], K[-1], D[-1]])
    if model.readout:
        w, shift = params[-1]["weight"], params[-1]["bias"]
        size = jnp.linalg.norm(w, 2)
        if other is None:
            last = size * last + jnp.array([1.0, 0, 0]) * jnp.linalg.norm(shift)
        else:
            w2, shift2 = other[-1]["weight"], other[-1]["bias"]
            moved = jnp.linalg.norm(w - w2, 2) * H[-1] + jnp.linalg.norm(shift - shift2)
            last = jnp.stack(
                [
                    size * H[-1] + jnp.linalg.norm(shift),
                    size * K[-1],
                    jnp.linalg.norm(w2, 2) * D[-1] + moved,
                ]
            )
    return LayerBounds(jnp.stack(H), jnp.stack(K), jnp.stack(D), last)


def parameter_sensitivity(
    model: OperatorRecurrent, params: Params, operator_norm: float | Array
) -> Float[Array, ""]:
    """How far the last state moves at most for each unit that every a, b and beta moves.

    C_l = (a_l + b_l M) C_(l-1) + 1 + (1 + M) H_(l-1), C_0 = 0, to first order in the change.

    Args:
        model: The net.
        params: Its parameters.
        operator_norm: M, at least the spectral norm of every X.

    Returns:
        C_L. Source: derived, as `layer_bounds`.

    Raises:
        InputError: As of `layer_bounds`.

    Examples:
        >>> from thalweg.theory.operator_nets.operator_bounds import parameter_sensitivity
        >>> net = tw.models.OperatorRecurrent(2, activation=None, tied=True, readout=False)
        >>> params = [{"A0": jnp.eye(1), "B0": -jnp.eye(1), "b0": jnp.ones(1)}]
        >>> float(parameter_sensitivity(net, params, 0.5))  # 1, then 1.5 + 1 + 1.5
        4.0
    """
    M, C = jnp.asarray(operator_norm), jnp.zeros(())
    norms = layer_bounds(model, params, operator_norm).norms
    for (a, b, _), H in zip(_rows(model, params, _lipschitz(model)), norms[:-1], strict=True):
        C = (a + b * M) * C + 1 + (1 + M) * H
    return C


def _lipschitz(model: OperatorRecurrent) -> float:
    if model.activation is None:
        return 0.0
    known = activation(model.activation)
    if known.slopes is not None:
        return max(abs(slope) for slope in known.slopes)
    require(
        model.activation in CONTRACTIONS,
        f"the Lipschitz constant of activation {model.activation!r} is not known, or it does not "
        f"vanish at 0; take relu, leaky-relu, abs or one of {', '.join(CONTRACTIONS)}",
    )
    return 1.0


def _rows(
    model: OperatorRecurrent, params: Params, c: float, minus: Params | None = None
) -> list[tuple[Array, Array, Array]]:
    """(a, b, beta) of every layer, of the parameters or of their difference from others."""
    whole = model.matrices(params)
    shifts = [params[0 if model.tied else j] for j in range(model.layers)]
    if minus is not None:
        whole = [
            {name: part[name] - less[name] for name in part}
            for part, less in zip(whole, model.matrices(minus), strict=True)
        ]
        shifts = [
            {b: shift[b] - minus[0 if model.tied else j][b] for _, _, b in model.branches}
            for j, shift in enumerate(shifts)
        ]
    found = []
    for part, shift in zip(whole, shifts, strict=True):
        size = {name: jnp.linalg.norm(matrix, 2) for name, matrix in part.items()}
        one, c_ = jnp.asarray(1.0), jnp.asarray(c)
        weights = (one, c_)[: len(model.branches)]
        sums = [
            sum((w * size[branch[k]] for w, branch in zip(weights, model.branches, strict=True)))
            for k in (0, 1)
        ]
        beta = sum(
            w * jnp.linalg.norm(shift[branch[2]])
            for w, branch in zip(weights, model.branches, strict=True)
        )
        found.append((jnp.asarray(sums[0]), jnp.asarray(sums[1]), jnp.asarray(beta)))
    return found
