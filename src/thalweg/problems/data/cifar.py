"""CIFAR-10 from its authors' binary files: yours, or fetched."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.core.errors import InputError, require, unknown
from thalweg.problems.data.data import Data
from thalweg.problems.data.fetched import Remote, fetch
from thalweg.problems.data.pixels import from_pixels
from thalweg.problems.data.rows import Classes
from thalweg.problems.data.text_labels import one_line

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
ARCHIVE = Remote(
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    "170 MB",
)
FOLDER = "cifar-10-batches-bin"  # in the archive
PARTS = {"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)}
SHAPE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32  # a label, then the red, the green and the blue pixels, row by row
OF_CIFAR: dict[str, Any] = {
    "mean": (0.4914, 0.4822, 0.4465),
    "std": (0.2470, 0.2435, 0.2616),
    "of": "pixel / 255, all training images, by channel",
}


def cifar10_images(
    folder: str | os.PathLike[str] | None = None,
    samples: int | None = None,
    every: int | None = None,
    classes: Classes | None = None,
    image: bool = False,
    split: str = "train",
    network: bool = True,
) -> Data:
    """CIFAR-10, 50000 + 10000 colour photographs of 32x32: your binary files, else fetched.

    Inputs are (pixel / 255 - mean) / std by channel, shape (n, 3072). What is fetched (170 MB) is
    the archive of the authors, checked by its SHA-256, and kept in scikit-learn's folder of data.

    Args:
        folder: Where cifar-10-binary.tar.gz, or what is in it, lies; by default the folder that
            the environment variable THALWEG_DATA names is searched, and what is not there is
            fetched.
        samples: Number of images, balanced over the classes by `chosen_rows`.
        every: Keep every so-manyth image, before `samples`.
        classes: Those kept, before both, as in "cat,dog"; all by default.
        image: Shape (n, 3, 32, 32) instead of (n, 3072).
        split: "train" or "test".
        network: Whether it may be fetched; what was fetched before is read in any case.

    Raises:
        InputError: If the files are neither there nor to be had, or not what they should be.

    Source: A. Krizhevsky (2009), Learning multiple layers of features from tiny images.

    Examples:
        >>> from pathlib import Path
        >>> for part in range(1, 6):  # in the place of the real files, of 10000 photographs each
        ...     _ = Path(f"data_batch_{part}.bin").write_bytes(bytes([part]) + bytes(3072))
        >>> tw.problems.cifar10_images(".", classes="cat,dog").inputs.shape
        (2, 3072)
    """
    require(split in PARTS, unknown(split, PARTS, "split"))
    place = folder if folder is not None else os.environ.get("THALWEG_DATA")
    found = _at_hand(Path(place).expanduser(), split) if place else None
    name = ARCHIVE.url.rpartition("/")[2]
    wanted = f"{name}, or {', '.join(PARTS[split])} out of it,"
    require(
        found is not None or folder is None,
        f"cifar10: no such files in {str(folder)!r} (nor in its {FOLDER}); looked for {wanted} "
        "put them there, or leave folder= out to have them fetched.",
    )
    if found is None:
        otherwise = (
            f"put {wanted} in a folder that folder= or the environment variable THALWEG_DATA names"
        )
        archive = fetch(ARCHIVE, "cifar10", otherwise, network=network)
        found = _unpacked(archive, split), archive
    content, source = found
    require(
        len(content) % RECORD == 0 and len(content) > 0,
        f"cifar10: {source} holds {len(content)} bytes of {split} images, which are no images of "
        f"{RECORD} bytes; it is cut short or damaged, fetch it again.",
    )
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    labels = records[:, 0]
    require(bool((labels < 10).all()), f"cifar10: {source}: a label is outside 0..9.")
    return from_pixels(
        records[:, 1:].reshape(-1, *SHAPE), labels, CLASSES, name="cifar10",
        source=f"CIFAR-10 {split} images, {source}", samples=samples, every=every,
        classes=classes, image=image, **OF_CIFAR,
    )  # fmt: skip


def _at_hand(folder: Path, split: str) -> tuple[bytes, Path] | None:
    """The records of a split in a folder of the user's, and where; None if they are not there."""
    for place in (folder, folder / FOLDER):
        parts = [place / part for part in PARTS[split]]
        if all(part.is_file() for part in parts):
            return b"".join(_bytes(part) for part in parts), place
    archive = folder / ARCHIVE.url.rpartition("/")[2]
    return (_unpacked(archive, split), archive) if archive.is_file() else None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cifar10: {path} cannot be read: {error.strerror}.") from None


def _unpacked(archive: Path, split: str) -> bytes:
    """The records of a split out of the archive; nothing is written."""
    wanted = {f"{FOLDER}/{part}": part for part in PARTS[split]}
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(archive) as files:
            for member in files:
                if member.name in wanted and (file := files.extractfile(member)) is not None:
                    found[wanted[member.name]] = file.read()
    except Exception as error:  # tarfile and gzip raise many kinds on damaged files
        raise InputError(
            f"cifar10: {archive} cannot be read ({one_line(error)}); fetch it again."
        ) from None
    for part in PARTS[split]:
        require(part in found, f"cifar10: {archive} holds no {FOLDER}/{part}; fetch it again.")
    return b"".join(found[part] for part in PARTS[split])
