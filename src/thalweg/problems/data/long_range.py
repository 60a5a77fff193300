"""Tasks whose answer depends on parts of the input that lie far apart."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg.core.errors import require


class Pairs(NamedTuple):
    """Pairs of images on a canvas, and whether the two are of one class.

    Attributes:
        inputs: (count, channels, height, width) of the canvas, zero around the images.
        targets: (count, 1), +1 for one class and -1 for two.
        patches: Which entries of an example the left and the right image take, (2, channels,
            height, width): what `long_range` takes as a pair.
    """

    inputs: NDArray[np.float64]
    targets: NDArray[np.float64]
    patches: NDArray[np.bool_]


def is_same_class(
    images: ArrayLike,
    labels: ArrayLike,
    count: int,
    distance: int,
    canvas: tuple[int, int],
    seed: int = 0,
) -> Pairs:
    """IsSameClass: are the two images on the canvas of one class? A fair coin decides.

    Two images side by side, `distance` columns of zeros between them, in the middle of the canvas
    (half a pixel up and left where it does not divide). For one class two different images of a
    class drawn at random, else images of two different classes.

    Args:
        images: (m, channels, height, width), at least two in each of at least two classes.
        labels: (m,), whole numbers.
        count: How many pairs.
        distance: Columns between the two images.
        canvas: (height, width) of an example.
        seed: Of the generator.

    Raises:
        InputError: If the images do not fit on the canvas, or a class has one image only.

    Source: Razin, Maman and Cohen (2022), experiments on long-range tasks.

    Examples:
        >>> images, labels = np.ones((4, 1, 2, 2)), np.array([0, 0, 1, 1])
        >>> pairs = tw.problems.is_same_class(images, labels, count=5, distance=1, canvas=(4, 8))
        >>> pairs.inputs.shape
        (5, 1, 4, 8)
    """
    x, y = np.asarray(images, np.float64), np.asarray(labels)
    require(
        x.ndim == 4 and y.shape == (len(x),),
        f"images {x.shape} and labels {y.shape} came; give (m, channels, height, width) and (m,)",
    )
    height, width = x.shape[2:]
    top, left = (canvas[0] - height) // 2, (canvas[1] - 2 * width - distance) // 2
    require(
        min(top, left, distance) >= 0,
        f"two images of {height} x {width} at distance {distance} do not fit on a canvas of "
        f"{canvas[0]} x {canvas[1]}",
    )
    members = [np.flatnonzero(y == label) for label in np.unique(y)]
    fewest = min(len(m) for m in members)
    require(
        len(members) >= 2 and fewest >= 2,
        f"{len(members)} classes with {fewest} images in the smallest; give at least 2 of each",
    )
    rng = np.random.default_rng(seed)
    same = rng.random(count) < 0.5
    chosen = np.array([_pair(rng, members, bool(one)) for one in same]).reshape(count, 2)
    inputs = np.zeros((count, x.shape[1], *canvas))
    patches = np.zeros((2, x.shape[1], *canvas), bool)
    for side, start in enumerate((left, left + width + distance)):
        place = (slice(None), slice(top, top + height), slice(start, start + width))
        inputs[(slice(None), *place)] = x[chosen[:, side]]
        patches[(side, *place)] = True
    return Pairs(inputs, np.where(same, 1.0, -1.0)[:, None], patches)


def _pair(rng: np.random.Generator, members: list[NDArray[np.int64]], same: bool) -> list[int]:
    """Numbers of two images of one class or of two."""
    if same:
        group = members[int(rng.integers(len(members)))]
        return [int(j) for j in rng.choice(group, 2, replace=False)]
    classes = rng.choice(len(members), 2, replace=False)
    return [int(rng.choice(members[int(c)])) for c in classes]


def noisy_prototypes(
    classes: int, size: int, each: int, noise: float, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Signals that are a class's prototype ~ N(0, I) plus noise N(0, noise^2 I).

    Returns:
        Signals (classes * each, 1, 1, size) and labels (classes * each,), the classes by turns.

    Raises:
        InputError: If a size is not positive or the noise negative.

    Examples:
        >>> signals, labels = tw.problems.noisy_prototypes(classes=2, size=16, each=3, noise=0.0)
        >>> signals.shape, labels.tolist()
        ((6, 1, 1, 16), [0, 1, 0, 1, 0, 1])
    """
    require(
        min(classes, size, each) >= 1 and noise >= 0,
        f"sizes {classes}, {size}, {each} and noise {noise} came; give at least 1, 1, 1 and 0",
    )
    rng = np.random.default_rng(seed)
    prototypes = rng.normal(size=(classes, size))
    labels = np.tile(np.arange(classes), each)
    signals = prototypes[labels] + noise * rng.normal(size=(len(labels), size))
    return signals[:, None, None], labels
