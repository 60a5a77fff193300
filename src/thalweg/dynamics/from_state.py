"""A dynamics that goes on from what its optimiser remembers."""

from __future__ import annotations

import dataclasses
from typing import Any

from thalweg.core.errors import InputError, require
from thalweg.dynamics.around import Around
from thalweg.dynamics.dynamics import Discrete
from thalweg.dynamics.optax_descent import OptaxDescent


def continued(dynamics: Discrete, state: Any) -> Discrete:
    """A dynamics whose optimiser begins with a state, as that of a run which it goes on with.

    From the parameters and the state of a run after k steps, its steps are those of that run from k
    on, to rounding. So do the averages and the velocity of the flow beside it begin: that of Adam,
    RMSProp and AdaGrad with the averages, the bias correction with the number of steps; of
    momentum, whose flow of first order has no memory, the equation of second order.

    Args:
        dynamics: Of Optax, as `tw.dynamics.optimiser("adam", 1e-3)`; mini-batches of it, too. Its
            learning rate has no schedule.
        state: Its Optax state, as `transform.update` returned it.

    Raises:
        InputError: If the dynamics has no such state, or a schedule; at the start of a run, if the
            state is of another optimiser or of other parameters, or not finite.

    Examples:
        >>> import optax
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
        >>> adam = optax.adam(0.1)
        >>> x = jnp.ones(1)
        >>> state = adam.init(x)
        >>> for _ in range(3):  # a loop of yours; the gradient is x
        ...     update, state = adam.update(x, state)
        ...     x = x + update
        >>> later = tw.dynamics.continued(tw.dynamics.optimiser("adam", 0.1), state)
        >>> path = tw.run(bowl, later, until=0.2, records=1, start=x)
        >>> whole = tw.run(bowl, tw.dynamics.optimiser("adam", 0.1), until=0.5, records=1)
        >>> bool(np.allclose(path.parameters[0, -1], whole.parameters[0, -1], rtol=1e-12))
        True
    """
    if isinstance(dynamics, Around):
        return dataclasses.replace(dynamics, base=continued(dynamics.base, state))
    if not isinstance(dynamics, OptaxDescent):
        raise InputError(
            f"state came with {dynamics.name}, which has no state of Optax to go on from; leave "
            "state out"
        )
    require(
        not callable(dynamics.step_size),
        f"state came with a schedule of {dynamics.name}, which begins at its first step; leave the "
        "schedule out, and give the learning rate that the run has now",
    )
    return dataclasses.replace(dynamics, begun=state)
