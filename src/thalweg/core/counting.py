"""How often a function is evaluated inside a compiled program, loops and branches included.

A program that may not call back to the host cannot keep a list of its calls. So the function's
value carries a mark that differentiation raises: value, gradient, Hessian product. The program is
traced, and run again from its trace with a counter threaded through every loop and branch that
holds a mark.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, jaxpr_as_fun
from jaxtyping import Array, Int

from thalweg.core.trace import CALLS

# What a mark adds to (values, gradients); a Hessian product costs about two gradients.
MARKS = {
    "evaluation of a value": (1, 0),
    "evaluation of a gradient": (0, 1),
    "evaluation of a Hessian product": (0, 2),
}
_VALUE, _GRADIENT, _PRODUCT = MARKS
# Primitives that run one program inside them once, on their own arguments.
_CALLS = (*CALLS, "custom_jvp_call")


class Evaluations(NamedTuple):
    """How often a marked function was evaluated.

    Attributes:
        values: Without its derivative.
        gradients: With its derivative, be it a gradient or a slope; a Hessian product counts 2.
    """

    values: Int[Array, ""]
    gradients: Int[Array, ""]


class Sight(NamedTuple):
    """What is known of a program's evaluations before it runs.

    Attributes:
        values: Whether it has any without the derivative.
        whole: Whether all of them are counted.
    """

    values: bool
    whole: bool


def marked(function: Callable[[Any], Array]) -> Callable[[Any], Array]:
    """The same function of one argument to a scalar, its evaluations seen by `counted`."""
    return lambda argument: _value(function(argument))


def counted(program: Callable[..., Any]) -> Callable[..., tuple[Any, Evaluations, Sight]]:
    """A program that also tells how often it evaluates a `marked` function.

    Args:
        program: A pure function of pytrees of arrays.

    Returns:
        A function of the same arguments. It returns what the program returns, the evaluations, and
        what is known of them: they are not `whole`, but lower bounds, if some lie in the condition
        of a loop or in a primitive with a program inside that is not known here. A batch of
        evaluations under `vmap` counts each of them; a batch of directions of one Hessian counts
        as one product.
    """

    def run(*arguments: Any) -> tuple[Any, Evaluations, Sight]:
        closed, shapes = jax.make_jaxpr(program, return_shape=True)(*arguments)
        missed: list[JaxprEqn] = []
        leaves, (values, gradients) = _run(closed, jax.tree.leaves(arguments), missed)
        result = jax.tree.unflatten(jax.tree.structure(shapes), leaves)
        sight = Sight(_has_marks(closed.jaxpr, (_VALUE,)), not missed and _has_marks(closed.jaxpr))
        return result, Evaluations(values, gradients), sight

    return run


@jax.custom_jvp
def _value(x: Array) -> Array:
    return checkpoint_name(x, _VALUE)


@jax.custom_jvp
def _gradient(x: Array) -> Array:
    return checkpoint_name(x, _GRADIENT)


@_value.defjvp
def _raised(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return _gradient(*primals), tangents[0]


@_gradient.defjvp
def _raised_twice(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return checkpoint_name(primals[0], _PRODUCT), tangents[0]


def _run(
    closed: ClosedJaxpr, arguments: list[Any], missed: list[JaxprEqn]
) -> tuple[list[Any], Int[Array, " 2"]]:
    """The results of a program and what its marks add up to; `missed` takes what cannot be seen."""
    jaxpr = closed.jaxpr
    known = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*closed.consts, *arguments), strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else known[atom]

    total = jnp.zeros(2, jnp.int64)
    for equation in jaxpr.eqns:
        given = [read(atom) for atom in equation.invars]
        results, count = _equation(jaxpr, equation, given, missed)
        known.update(zip(equation.outvars, results, strict=True))
        total = total + count
    return [read(atom) for atom in jaxpr.outvars], total


def _equation(
    jaxpr: Jaxpr, equation: JaxprEqn, given: list[Any], missed: list[JaxprEqn]
) -> tuple[list[Any], Array]:
    name, params = equation.primitive.name, equation.params
    if name == "name" and params["name"] in MARKS:
        return given, jnp.asarray(MARKS[params["name"]], jnp.int64) * jnp.size(given[0])
    inside = [sub for sub in _programs(params) if _has_marks(sub)]
    if inside and name == "while" and not _has_marks(params["cond_jaxpr"].jaxpr):
        return _while(params, given, missed)
    if inside and name == "cond":
        branches = [
            lambda *a, branch=branch: _run(branch, list(a), missed) for branch in params["branches"]
        ]
        return jax.lax.switch(given[0], branches, *given[1:])
    if inside and name == "scan":
        return _scan(params, given, missed)
    if inside and name in _CALLS:
        sub = next(params[key] for key in ("jaxpr", "call_jaxpr") if key in params)
        return _run(sub if isinstance(sub, ClosedJaxpr) else ClosedJaxpr(sub, ()), given, missed)
    if inside:
        missed.append(equation)
    variables = [atom for atom in equation.invars if not isinstance(atom, Literal)]
    values = {v: x for v, x in zip(equation.invars, given, strict=True) if v in variables}
    alone = jaxpr.replace(
        constvars=[], invars=list(values), outvars=equation.outvars, eqns=[equation]
    )
    return jax.core.eval_jaxpr(alone, (), *values.values()), jnp.zeros(2, jnp.int64)


def _while(params: Any, given: list[Any], missed: list[JaxprEqn]) -> tuple[list[Any], Array]:
    first, second = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    condition = jaxpr_as_fun(params["cond_jaxpr"])

    def body(carry: tuple[list[Any], Array]) -> tuple[list[Any], Array]:
        results, count = _run(params["body_jaxpr"], given[first:second] + carry[0], missed)
        return results, carry[1] + count

    start = (given[second:], jnp.zeros(2, jnp.int64))
    return jax.lax.while_loop(lambda carry: condition(*given[:first], *carry[0])[0], body, start)


def _scan(params: Any, given: list[Any], missed: list[JaxprEqn]) -> tuple[list[Any], Array]:
    first, carried = params["num_consts"], params["num_carry"]

    def body(carry: tuple[list[Any], Array], x: list[Any]) -> Any:
        results, count = _run(params["jaxpr"], [*given[:first], *carry[0], *x], missed)
        return (results[:carried], carry[1] + count), results[carried:]

    (last, count), seen = jax.lax.scan(
        body,
        (given[first : first + carried], jnp.zeros(2, jnp.int64)),
        given[first + carried :],
        length=params["length"],
        reverse=params["reverse"],
    )
    return [*last, *seen], count


def _programs(params: Any) -> Iterator[Jaxpr]:
    """The programs inside an equation."""
    for value in params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            if isinstance(part, ClosedJaxpr):
                yield part.jaxpr
            elif isinstance(part, Jaxpr):
                yield part


def _has_marks(jaxpr: Jaxpr, marks: Collection[str] = MARKS) -> bool:
    return any(
        (equation.primitive.name == "name" and equation.params["name"] in marks)
        or any(_has_marks(sub, marks) for sub in _programs(equation.params))
        for equation in jaxpr.eqns
    )
