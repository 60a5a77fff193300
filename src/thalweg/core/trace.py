"""A function's trace by JAX, evaluated with something added to values on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var
from jaxtyping import Array

CALLS = {
    "jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr",
    "checkpoint": "jaxpr", "remat2": "jaxpr",
}  # fmt: skip


def trace_of(function: Callable[..., Array], *shapes: Any) -> ClosedJaxpr:
    """The trace of a function with one output, calls of compiled functions written out.

    So are those under `jax.checkpoint`: what is read off the trace is kept, not computed again.

    Args:
        function: Of pytrees of arrays.
        shapes: Its arguments, or what has their `shape` and `dtype`.
    """
    kinds = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype), shapes)
    trace = jax.make_jaxpr(function)(*kinds)
    if not any(e.primitive.name in CALLS for e in trace.jaxpr.eqns):
        return trace
    flat = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in trace.jaxpr.invars]
    return jax.make_jaxpr(lambda *a: _written_out(trace.jaxpr, trace.consts, a)[0])(*flat)


def evaluated(
    trace: ClosedJaxpr,
    arguments: Sequence[Array],
    added: Mapping[Var, Array],
    wanted: Sequence[Var] = (),
) -> tuple[Array, list[Array]]:
    """The output of a trace with something added to some of its values, and the values wanted.

    Args:
        trace: Of one output.
        arguments: Of the trace, flat.
        added: To arguments or values; of as many entries, in any shape.
        wanted: Values to give back, arguments among them.
    """
    jaxpr = trace.jaxpr
    values: dict[Var, Array] = dict(zip(jaxpr.constvars, trace.consts, strict=True))

    def put(var: Var, value: Array) -> None:
        values[var] = value + added[var].reshape(value.shape) if var in added else value

    for var, value in zip(jaxpr.invars, arguments, strict=True):
        put(var, value)
    for equation in jaxpr.eqns:
        for out, value in zip(equation.outvars, _made(jaxpr, equation, values), strict=True):
            put(out, value)
    (last,) = jaxpr.outvars
    output = last.val if isinstance(last, Literal) else values[last]
    return output, [values[v] for v in wanted]


def shape_of(var: Var) -> jax.core.ShapedArray:
    """Shape, size and type of a value of a trace."""
    return cast(jax.core.ShapedArray, var.aval)


def _made(jaxpr: Jaxpr, equation: JaxprEqn, values: Mapping[Var, Any]) -> list[Any]:
    """What one equation of a trace makes."""
    inputs = list(dict.fromkeys(v for v in equation.invars if isinstance(v, Var)))
    alone = jaxpr.replace(constvars=[], invars=inputs, outvars=equation.outvars, eqns=[equation])
    return jax.core.eval_jaxpr(alone, [], *(values[v] for v in inputs))


def _written_out(jaxpr: Jaxpr, consts: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
    """The outputs of a trace; its calls are walked through, so that a trace of this has none."""
    values: dict[Var, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    values |= dict(zip(jaxpr.invars, arguments, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        inner = equation.params.get(CALLS.get(equation.primitive.name, ""))
        if inner is not None:
            consts = inner.consts if isinstance(inner, ClosedJaxpr) else ()
            inner = inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner
            made = _written_out(inner, consts, list(map(read, equation.invars)))
        else:
            made = _made(jaxpr, equation, values)
        values.update(zip(equation.outvars, made, strict=True))
    return list(map(read, jaxpr.outvars))
