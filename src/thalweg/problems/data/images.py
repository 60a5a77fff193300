"""Images of handwritten digits: the bundled 8x8 ones, and MNIST from the user's own folder."""

from __future__ import annotations

import dataclasses
import gzip
import math
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import zoom

from thalweg.core.errors import InputError, require, unknown
from thalweg.problems.data.data import Data, from_arrays
from thalweg.problems.data.rows import chosen_rows, row_rule

CLASSES = tuple("0123456789")
SIDE = 8  # of the bundled digits
MNIST_MEAN, MNIST_STD = 0.1307, 0.3081  # of pixel / 255 over the 60000 training images
IDX_STEMS = {"train": "train", "test": "t10k"}


def digit_images(
    samples: int | None = None,
    standardize: str = "global",
    every: int | None = None,
    image: bool = False,
    size: int = SIDE,
) -> Data:
    """The 1797 handwritten digits of 8x8 pixels that scikit-learn bundles.

    Inputs are pixel / 16 in [0, 1], then standardised over the images taken: "global" gives
    (x - mean(x)) / std(x) with one mean and one standard deviation for all pixels, "feature" one of
    each per pixel, "none" nothing.

    Args:
        samples: Number of images, balanced over the classes by `chosen_rows`.
        standardize: "global", "feature" or "none".
        every: Keep every so-manyth image, before `samples`; 9 leaves 200.
        image: Shape (n, 1, size, size) instead of (n, size^2).
        size: Side of the images; other than 8 they are resampled linearly, before standardising.

    Raises:
        InputError: If `samples`, `every` or `size` is out of range, or `standardize` unknown.

    Source: Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI, test part.
    """
    from sklearn.datasets import load_digits  # slow to import, needed by these data only

    require(2 <= size <= 1024, f"size is {size}; give a side from 2 to 1024 pixels.")
    bundled = load_digits()
    pixels, source = bundled.images / 16.0, "sklearn.datasets.load_digits, pixel / 16"
    if size != SIDE:
        pixels = zoom(pixels, (1, size / SIDE, size / SIDE), order=1)
        source += f", resampled linearly to {size}x{size}"
    data = from_arrays(
        pixels.reshape(len(pixels), -1),
        bundled.target,
        name="digits",
        task="classification",
        standardize=standardize,
        samples=samples,
        every=every,
        classes=CLASSES,
        description={"source": source},
    )
    return _shaped(data, (size, size)) if image else data


def mnist(
    folder: str | os.PathLike[str] | None = None,
    samples: int | None = None,
    every: int | None = None,
    image: bool = False,
    split: str = "train",
) -> Data:
    """MNIST read from files that the user has: IDX files (also gzipped), or Keras's `mnist.npz`.

    Inputs are (pixel / 255 - 0.1307) / 0.3081, shape (n, 784).

    Args:
        folder: Where the files lie (itself or its subfolder MNIST/raw); by default the
            environment variable THALWEG_DATA says.
        samples: Number of images, balanced over the classes by `chosen_rows`.
        every: Keep every so-manyth image, before `samples`.
        image: Shape (n, 1, 28, 28) instead of (n, 784).
        split: "train" or "test".

    Raises:
        InputError: If the files are missing or not what they should be.

    Source: LeCun, Cortes and Burges (1998), The MNIST database of handwritten digits.
    """
    require(split in IDX_STEMS, unknown(split, IDX_STEMS, "split"))
    place = folder if folder is not None else os.environ.get("THALWEG_DATA")
    if not place:
        raise InputError(
            "mnist: no folder is given; give folder=, or set the environment variable THALWEG_DATA "
            f"to the folder that holds {_wanted(split)}."
        )
    pixels, labels, source = _mnist_arrays(Path(place).expanduser(), split)
    require(
        pixels.dtype == np.uint8 and pixels.ndim == 3,
        f"{source}: images of type {pixels.dtype} and shape {pixels.shape}; "
        "MNIST has bytes of shape (n, 28, 28).",
    )
    require(
        labels.dtype.kind in "iu" and labels.ndim == 1 and len(labels) == len(pixels),
        f"{source}: {len(pixels)} images but labels of type {labels.dtype} and shape "
        f"{labels.shape}; give one whole number per image.",
    )
    require(not ((labels < 0) | (labels > 9)).any(), f"{source}: a label is outside 0..9.")
    n, height, width = pixels.shape
    # Rows are chosen before the conversion to float64, which takes eight times the memory.
    rows = chosen_rows(n, labels, every=every, samples=samples)
    scaled = (pixels[rows].reshape(len(rows), height * width) / 255.0 - MNIST_MEAN) / MNIST_STD
    data = from_arrays(
        scaled,
        labels[rows],
        name="mnist",
        task="classification",
        classes=CLASSES,
        description={
            "source": f"MNIST {split} images, {source}",
            "rows": row_rule(n, every, samples, labelled=True),
            "standardize": {
                "kind": "global",
                "mean": MNIST_MEAN,
                "std": MNIST_STD,
                "of": "pixel / 255, all training images",
            },
        },
    )
    return _shaped(data, (height, width)) if image else data


def _shaped(data: Data, size: tuple[int, int]) -> Data:
    return dataclasses.replace(data, inputs=data.inputs.reshape(-1, 1, *size))


def _wanted(split: str) -> str:
    stem = IDX_STEMS[split]
    return (
        f"{stem}-images-idx3-ubyte and {stem}-labels-idx1-ubyte (each also with .gz), or mnist.npz"
    )


def _mnist_arrays(folder: Path, split: str) -> tuple[NDArray[Any], NDArray[Any], str]:
    """Images (n, height, width), labels (n,), and the file of the images."""
    stem = IDX_STEMS[split]
    for place in (folder, folder / "MNIST" / "raw"):
        images = _first(place, f"{stem}-images-idx3-ubyte", f"{stem}-images.idx3-ubyte")
        labels = _first(place, f"{stem}-labels-idx1-ubyte", f"{stem}-labels.idx1-ubyte")
        if images and labels:
            return read_idx(images, 3), read_idx(labels, 1), str(images)
    archive = folder / "mnist.npz"
    if archive.is_file():
        return *_keras_arrays(archive, split), str(archive)
    raise InputError(
        f"mnist: no such files in {str(folder)!r} (nor in its MNIST/raw); looked for "
        f"{_wanted(split)}; put them there, or give folder= or THALWEG_DATA."
    )


def _first(folder: Path, *names: str) -> Path | None:
    paths = (folder / (name + ending) for name in names for ending in ("", ".gz"))
    return next((path for path in paths if path.is_file()), None)


def read_idx(path: Path, dims: int) -> NDArray[np.uint8]:
    """Read an IDX file of bytes with `dims` dimensions, gzipped if its name ends in .gz.

    The header is 0, 0, 8 (bytes), `dims`, then each dimension as a big-endian 32-bit integer.

    Raises:
        InputError: If the file is damaged, or its header or length is not as stated.
    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except Exception as error:  # gzip and zlib raise many kinds on damaged files
        raise InputError(f"{path}: cannot be read ({error}); fetch it again.") from None
    start = 4 + 4 * dims
    require(
        len(raw) >= start and raw[:4] == bytes((0, 0, 8, dims)),
        f"{path}: no IDX file of bytes with {dims} dimension(s); fetch it again.",
    )
    shape = struct.unpack(f">{dims}I", raw[4:start])
    require(
        len(raw) - start == math.prod(shape),
        f"{path}: {len(raw) - start} bytes of data but its header says {shape}; it is cut "
        "short or damaged, fetch it again.",
    )
    return np.frombuffer(raw, dtype=np.uint8, offset=start).reshape(shape)


def _keras_arrays(path: Path, split: str) -> tuple[NDArray[Any], NDArray[Any]]:
    keys = (f"x_{split}", f"y_{split}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            images, labels = (np.asarray(archive[key]) for key in keys)
    except Exception as error:  # NumPy raises many kinds on damaged files
        raise InputError(
            f"{path}: cannot be read as Keras's mnist.npz with {keys[0]} and {keys[1]} ({error}); "
            "fetch it again."
        ) from None
    return images, labels
