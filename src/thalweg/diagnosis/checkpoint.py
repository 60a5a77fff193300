"""Parameters to begin at, from what lies on the disk."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from thalweg.core.errors import InputError, reason, require
from thalweg.trajectory import Trajectory, load


def read_start(path: Path) -> Trajectory | np.ndarray:
    """A run of ours, or a flat vector of parameters (p,) in NumPy's format; nothing is unpickled.

    Args:
        path: A store ending in .zarr, or a file ending in .npy or in .npz, then of one array.

    Raises:
        InputError: If there is none, or it is not what its ending says.
    """
    require(
        path.suffix in (".zarr", ".npy", ".npz"),
        f"start came as {str(path)!r}; give a run (.zarr) or flat parameters (.npy, .npz)",
    )
    if path.suffix == ".zarr":
        return load(path)
    require(path.is_file(), f"start {str(path)!r}: there is no such file; check the path")
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        with found:
            names = list(found)
            require(
                len(names) == 1,
                f"start {str(path)!r} holds {len(names)} arrays ({', '.join(names[:5])}); give one "
                "of flat parameters",
            )
            return np.asarray(found[names[0]])
    except InputError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"start {str(path)!r} cannot be read as NumPy's format ({reason(error)}); save it again"
        ) from None
