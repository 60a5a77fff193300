"""Haiku: pairs of pure functions made by `hk.transform`."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from thalweg.core.arguments import told
from thalweg.core.errors import require
from thalweg.core.tree import Params
from thalweg.models.frameworks.in_jax import double, held_against, narrows
from thalweg.models.frameworks.network import Network, as_examples, freely, needing, taken


@freely()
def from_haiku(
    transformed: Any,
    params: Any = None,
    state: Any = None,
    example: Any = None,
    smooth: bool | None = None,
    **options: Any,
) -> Network:
    """A model from what `hk.transform` or `hk.transform_with_state` made.

    Its parameters are trained, its state is held fixed.

    Args:
        transformed: The pair (init, apply), with or without `hk.without_apply_rng`.
        params: As training left them. None: every seed draws its own, by `transformed.init`, for
            inputs like `example`.
        state: With `params`, of `hk.transform_with_state`.
        example: A batch of inputs (n, ...). On its first rows outputs, gradient and a Hessian
            product are compared with Haiku's own in float64; whole numbers say that the net takes
            tokens. `problems.supervised` gives its data.
        smooth: Whether the net is free of kinks (of ReLU); None: see `Applied`.
        **options: For the function, as `is_training=False`.

    Raises:
        InputError: If Haiku is not installed, the function draws random numbers or updates its
            averages (the module is named), it computes in less than its parameters' precision, or
            something differs.

    Cost: with an example a forward pass, and a gradient and a product of two kinds.

    Examples:
        >>> import haiku as hk
        >>> net = hk.without_apply_rng(hk.transform(lambda x: hk.Linear(1)(x)))
        >>> model = tw.models.from_haiku(net, example=np.eye(2))
        >>> params = model.init(jax.random.key(0), (2,), 1, jnp.float64)
        >>> bool(jnp.allclose(model.apply(params, jnp.eye(2)), net.apply(params, jnp.eye(2))))
        True
        >>> sorted(model.to_framework(params))
        ['linear']
    """
    with needing("haiku"):
        import haiku as hk
    stateful = isinstance(transformed, hk.TransformedWithState)
    require(
        stateful or isinstance(transformed, hk.Transformed),
        f"transformed came as {told(transformed)}; give what hk.transform(function) returns",
    )
    title = "the Haiku function"
    require(
        params is not None or example is not None,
        f"{title} came without params; give params=net.init(key, inputs), or example=inputs to "
        "have them drawn",
    )
    require(
        not stateful or params is None or state is not None,
        f"{title} keeps a state; give it beside params, as net.init(key, inputs) returns both",
    )
    rows = None if example is None else as_examples(example)
    draw: Callable[[Any], Params] | None = None
    if params is None:
        assert rows is not None
        rows = taken(
            lambda x: transformed.init(jax.random.key(0), jnp.asarray(x), **options),
            rows,
            title,
            "; give params (and state) as net.init(key, inputs) returns them",
        )
        one = jnp.asarray(rows[:1])
        made = transformed.init(jax.random.key(0), one, **options)
        params, state = made if stateful else (made, None)

        def draw(key: Any) -> Params:
            drawn = transformed.init(key, one, **options)
            return drawn[0] if stateful else drawn

    keyed = "rng" in inspect.signature(transformed.apply).parameters
    beside = {} if state is None else state
    run = _Calls(transformed.apply, stateful, keyed, False, options)
    if rows is not None:
        whole, fixed = double(params), double(beside)  # some modules take no mixture of types
        rows = taken(lambda x: run.watched(whole, fixed, x, title), rows, title)
        run = dataclasses.replace(run, whole=rows.dtype.kind in "iu")
    model = Network(
        run,
        init_function=draw,
        start=None if draw else params,
        is_smooth=smooth,
        beside=beside,
        title="from_haiku(...)",
        returned=lambda whole: (whole, beside) if stateful else whole,
        verified=None
        if rows is not None
        else lambda x: from_haiku(transformed, params, state, x, smooth, **options),
    )
    if rows is None:
        return model
    narrows(model, rows, title, {})

    def theirs(whole: Params) -> Any:
        return run(whole, double(beside), jnp.asarray(rows))

    return held_against(model, theirs, rows, title)


@dataclasses.dataclass(frozen=True, eq=False)
class _Calls:
    """The function of parameters, state and a batch."""

    function: Any
    stateful: bool
    keyed: bool
    whole: bool
    options: dict[str, Any]

    def __call__(self, params: Params, beside: Params, x: Any) -> Any:
        return self.with_state(params, beside, x)[0]

    def with_state(self, params: Params, beside: Params, x: Any) -> tuple[Any, Params]:
        """The outputs and the state after the call."""
        x = jnp.rint(x).astype(int) if self.whole else x
        given = (params, beside) if self.stateful else (params,)
        key = (None,) if self.keyed else ()
        out = self.function(*given, *key, x, **self.options)
        return out if self.stateful else (out, beside)

    def watched(self, params: Params, beside: Params, x: np.ndarray, title: str) -> Any:
        """One call that refuses random modules and those that write a state by their names."""
        import haiku as hk

        entered = []
        evaluation = "give the function as for evaluation, as from_haiku(net, is_training=False)"

        def seen(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
            if context.method_name != "__call__":
                return call(*args, **kwargs)
            entered.append(context.module.module_name)
            if isinstance(context.module, hk.BatchNorm):
                training = args[1] if len(args) > 1 else kwargs.get("is_training")
                require(
                    not training,
                    f"{title} is in training mode: {entered[-1]} is batch normalisation by the "
                    f"batch's own averages, which it keeps; {evaluation}",
                )
            return call(*args, **kwargs)

        with hk.intercept_methods(seen):
            try:
                out, after = self.with_state(params, beside, jnp.asarray(x))
            except ValueError as error:
                last = f", after the module {entered[-1]}" if entered else ""
                require(
                    "PRNGKey" not in str(error) and "PRNG key" not in str(error),
                    f"{title} draws random numbers (dropout in training?){last}; {evaluation}",
                )
                raise
        written = sorted(
            f"{name} of {module}"
            for module, held in after.items()
            for name, value in held.items()
            if not _same(beside.get(module, {}).get(name), value)
        )
        require(
            not written,
            f"{title} writes a state when it is called ({', '.join(written)}), which is held fixed "
            f"here; {evaluation}, so that it only reads it",
        )
        return out


def _same(before: Any, after: Any) -> bool:
    """Whether two parts of a state hold the same numbers."""

    def plain(leaf: Any) -> np.ndarray:
        is_key = jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if is_key else leaf)

    old, new = jax.tree.leaves(before), jax.tree.leaves(after)
    return len(old) == len(new) and all(
        np.array_equal(plain(a), plain(b)) for a, b in zip(old, new, strict=True)
    )
