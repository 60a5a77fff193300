"""Where numbers come from: command, configuration, versions, machine, precision."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = ("thalweg", "jax", "jaxlib", "equinox", "diffrax", "optax", "numpy", "xarray", "zarr")


def provenance(configuration: dict[str, Any]) -> dict[str, Any]:
    """A record of how a run came about, as plain data.

    Args:
        configuration: Everything that decides the numbers.
    """
    import jax

    return {
        "command": command_line(),
        "configuration": configuration,
        "fingerprint": fingerprint(configuration),
        "versions": versions(),
        "platform": {
            "system": platform.platform(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "devices": [str(device) for device in jax.devices()],
        },
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide numbers."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def command_line() -> str:
    """The command that started this process, fit to be pasted into a shell."""
    name, *arguments = sys.argv or [""]
    if Path(name).name == "ipykernel_launcher.py":  # its arguments are a file that is gone by now
        return "a notebook"
    if Path(name).name == "__main__.py":  # a package that Python ran, as `python -m thalweg`
        return shlex.join(["python", "-m", Path(name).parent.name, *arguments])
    if name == "-c" or name.endswith(".py"):
        return shlex.join(["python", *sys.orig_argv[1:]])
    return shlex.join([Path(name).name or "python", *arguments])


def fingerprint(configuration: dict[str, Any]) -> str:
    """A short digest of plain data: equal if and only if the configuration is."""
    text = json.dumps(configuration, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest(*arrays: Any) -> str:
    """A short digest of arrays: their types, shapes and bytes."""
    total = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array)
        total.update(f"{array.dtype}{array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()[:16]


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
