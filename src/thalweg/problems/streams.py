"""Streams: examples that come one after the other, in stages whose task changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from thalweg.core.arguments import told as told_of
from thalweg.core.errors import require
from thalweg.models.dense import mlp
from thalweg.models.given import ModelLike
from thalweg.problems.data.data import Data
from thalweg.problems.data.files import as_data
from thalweg.problems.losses import Loss
from thalweg.problems.problem import Supervised, supervised

FIRES = 0.6  # of the inputs must match a feature's prototype: beta


class Stream(Supervised):
    """Examples in an order that counts; the objective is their mean loss, as of any problem.

    Learners see one after the other through `tw.dynamics.online(...)`.

    Attributes:
        stages: Name of each stage, in order; the same name stands for the same examples.
        lengths: How many examples each has.
    """

    stages: tuple[str, ...] = eqx.field(static=True, default=())
    lengths: tuple[int, ...] = eqx.field(static=True, default=())

    def on(self, index: Int[Array, " b"]) -> Supervised:
        """The problem on some of the examples; they are no stream any more."""
        kept = {f.name: getattr(self, f.name) for f in dataclasses.fields(Supervised)}
        kept |= {"inputs": self.inputs[index], "targets": self.targets[index]}
        return Supervised(**kept)

    def stage(self, number: int) -> Supervised:
        """The problem on the examples of one stage, counted from 0."""
        require(
            0 <= number < len(self.lengths),
            f"stage {number} came; the stream has {len(self.lengths)}, counted from 0",
        )
        begin = sum(self.lengths[:number])
        return self.on(jnp.arange(begin, begin + self.lengths[number]))

    def describe(self) -> dict[str, Any]:
        stages = list(map(list, zip(self.stages, self.lengths, strict=True)))
        return super().describe() | {"kind": "stream", "stages": stages}


def stream(
    model: ModelLike,
    data: Any,
    loss: str | Loss | None = None,
    *,
    lengths: Sequence[int] | None = None,
    stages: Sequence[str] | None = None,
    precision: str = "float64",
) -> Stream:
    """A stream of examples in the order in which they are given.

    Args:
        model: As for `tw.problems.supervised`.
        data: Likewise; the order of its rows is that of the stream.
        loss: Likewise.
        lengths: How many examples each stage has; None for one stage of all.
        stages: Names of the stages; None to number them.
        precision: "float64" or "float32".

    Raises:
        InputError: If the lengths do not add up to the examples, or names do not go with them; and
            as `tw.problems.supervised` raises.

    Examples:
        >>> data = np.arange(4.0)[:, None], np.arange(4.0)[:, None]
        >>> two = tw.problems.stream(tw.models.linear([]), data, lengths=(3, 1), stages=["A", "B"])
        >>> two.stage(1).inputs.tolist()
        [[3.0]]
    """
    problem = supervised(model, data, loss, precision=precision)
    n = len(problem.inputs)
    sizes = (n,) if lengths is None else _counts("lengths", lengths)
    require(
        sum(sizes) == n and all(size > 0 for size in sizes),
        f"stages of lengths {sizes} came for {n} examples; give lengths of at least 1 that add up "
        "to them",
    )
    names = tuple(map(str, range(len(sizes)))) if stages is None else tuple(map(str, stages))
    require(
        len(names) == len(sizes),
        f"{len(names)} names came for {len(sizes)} stages; give one for each",
    )
    kept = {f.name: getattr(problem, f.name) for f in dataclasses.fields(Supervised)}
    return Stream(**kept, stages=names, lengths=sizes)


def geoff_stream(
    model: ModelLike | None = None,
    *,
    seed: int = 0,
    stages: Sequence[str] = ("A", "B", "C", "A", "B", "C"),
    length: int = 5000,
    inputs: int = 20,
    features: int = 1000,
    redrawn: float = 0.5,
    noise: float = 1.0,
    precision: str = "float32",
) -> Stream:
    """Generic on-line feature finding: targets are sums of fixed threshold features of random bits.

    With x uniform in {0, 1}^n x {1}, U uniform in {-1, 1}, W uniform in {-1, 0, 1},

        y = sum_j W_j phi_j(x) + N(0, noise^2),    phi_j = 1 where more than 0.6 (n + 1) of the
                                                             n + 1 entries of x match column j of U,

    and one feature more that is always 1. A new name among the stages draws again a share of W's
    entries, chosen at random, from those of the stage before it in the order of first appearance,
    and fresh examples; a name that comes again brings the same examples. U is kept: features that
    were found once serve again.

    Args:
        model: The network; by default one hidden layer of 500 tanh units.
        seed: Of all draws.
        stages: Names of the stages in order.
        length: Examples of each.
        inputs: n, bits; the constant comes to the net as its bias.
        features: How many features the target has, the constant not counted.
        redrawn: Share of W's entries that a new task draws again, 0 to 1.
        noise: Standard deviation of the targets' noise.
        precision: "float32" or "float64".

    Raises:
        InputError: If a number is out of its range.

    Source: Veeriah, Zhang and Sutton (2017), and the authors' public generator.

    Examples:
        >>> task = tw.problems.geoff_stream(seed=1, stages=["A", "B", "A"], length=10, features=5)
        >>> task.inputs.shape, bool((task.stage(0).targets == task.stage(2).targets).all())
        ((30, 20), True)
    """
    require(
        all(count >= 1 for count in (length, inputs, features, len(stages))),
        f"length={length}, inputs={inputs}, features={features} and {len(stages)} stages came; "
        "give at least 1 of each",
    )
    require(0 <= redrawn <= 1, f"redrawn came as {redrawn}; give a share from 0 to 1")
    require(noise >= 0, f"noise came as {noise}; give a standard deviation of at least 0")
    require(seed >= 0, f"seed came as {seed}; give a whole number of at least 0")
    names = list(map(str, stages))
    rng = np.random.default_rng(seed)
    prototypes = rng.choice([-1.0, 1.0], size=(inputs + 1, features + 1))
    threshold = FIRES * (inputs + 1) - np.sum(prototypes < 0, axis=0)
    weights = rng.choice([-1.0, 0.0, 1.0], size=features + 1)
    tasks: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name in names:
        if name in tasks:
            continue
        if tasks:
            drawn = rng.permutation(features + 1)[: int(redrawn * (features + 1))]
            weights[drawn] = rng.choice([-1.0, 0.0, 1.0], size=len(drawn))
        x = rng.integers(0, 2, size=(length, inputs + 1)).astype(float)
        x[:, -1] = 1
        on = (x @ prototypes > threshold).astype(float)
        on[:, -1] = 1
        y = on @ weights + noise * rng.normal(size=length)
        tasks[name] = x[:, :-1], y
    x, y = (np.concatenate(part) for part in zip(*(tasks[name] for name in names), strict=True))
    told = {"name": "geoff", "seed": seed, "features": features, "redrawn": redrawn, "noise": noise}
    data = Data("geoff", x, y[:, None], "regression", (), told)
    net = mlp([500]) if model is None else model
    lengths = (length,) * len(names)
    return stream(net, data, lengths=lengths, stages=names, precision=precision)


def shifted_labels_stream(
    model: ModelLike,
    data: Any,
    shifts: Sequence[int] = (0, 1, 2, 0, 1, 2),
    *,
    passes: int = 1,
    seed: int = 0,
    precision: str = "float32",
) -> Stream:
    """The same classification again and again, its classes rolled on from stage to stage.

    Stage by stage the label c becomes (c + shift) mod classes; inputs, and so what features there
    are to find, stay.

    Args:
        model: As for `tw.problems.supervised`.
        data: Examples with labels; likewise.
        shifts: Of each stage.
        passes: How often a stage goes through the examples, each time in a new order.
        seed: Of the orders.
        precision: "float32" or "float64".

    Raises:
        InputError: If the data have no labels, or there is no stage or no pass.

    Source: The continual classification of Veeriah, Zhang and Sutton (2017).

    Examples:
        >>> data = np.eye(3), np.array([0, 1, 2])
        >>> rolled = tw.problems.shifted_labels_stream(tw.models.mlp([4]), data, (0, 1))
        >>> rolled.stages, rolled.lengths
        (('+0', '+1'), (3, 3))
    """
    known = as_data(data)
    require(
        known.task == "classification",
        f"data {known.name!r} have numbers for targets; give labels, which can be rolled on",
    )
    require(
        len(shifts) >= 1 and passes >= 1,
        f"{len(shifts)} stages and {passes} passes came; give at least one of each",
    )
    require(seed >= 0, f"seed came as {seed}; give a whole number of at least 0")
    by = _counts("shifts", shifts)
    rng = np.random.default_rng(seed)
    n, classes = len(known.inputs), len(known.classes)
    orders = [np.concatenate([rng.permutation(n) for _ in range(passes)]) for _ in by]
    labels = [(known.targets[o] + s) % classes for o, s in zip(orders, by, strict=True)]
    told = known.description | {"shifts": list(by), "passes": passes, "seed": seed}
    whole = Data(
        known.name,
        known.inputs[np.concatenate(orders)],
        np.concatenate(labels),
        "classification",
        known.classes,
        told,
    )
    return stream(
        model,
        whole,
        lengths=(n * passes,) * len(by),
        stages=[f"+{shift}" for shift in by],
        precision=precision,
    )


def _counts(name: str, given: Sequence[int]) -> tuple[int, ...]:
    """Whole numbers, one for each stage.

    Raises:
        InputError: If they are none.
    """
    fits = np.ndim(given) == 1 and not isinstance(given, Mapping)
    require(
        fits and all(isinstance(count, int | np.integer) for count in given),
        f"{name} came as {told_of(given)}; give whole numbers, one for each stage, as (3, 1)",
    )
    return tuple(int(count) for count in given)
