"""The folder of a sweep: one store for each block, and the list of blocks, written before them.

`sweep.json` says what all members have in common, which decides whether a folder is of this sweep,
and lists the blocks with their lanes. It is written before a block is begun, so that a sweep that
was killed goes on with the very same blocks, and one that is asked for more adds blocks to it.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import xarray as xr

from thalweg.core.errors import InputError
from thalweg.core.tree import Params
from thalweg.driver.block import AXES, Horizon, labelled
from thalweg.driver.changes import changes_between
from thalweg.driver.layout import arrays_in, schedule_of, start_as_drawn
from thalweg.problems.problem import Problem
from thalweg.storage.files import StoreError, replace, sealed, unsealed, writing
from thalweg.storage.lock import is_lock, require_own
from thalweg.sweeps.plan import Lanes, Place, block_name
from thalweg.trajectory.provenance import digest, fingerprint
from thalweg.trajectory.store import OtherRunError, ZarrStore

FORMAT = 1
INDEX = "sweep.json"
ASIDE = "replaced"  # where a sweep is that another one replaces, until that one has begun


def in_common(
    problem: Problem, horizon: Horizon, probes: Any, start: Params | None, parameters: bool
) -> dict[str, Any]:
    """What decides the numbers of every lane besides its dynamics and its seed: plain data."""
    given = start_as_drawn(problem, start)
    first = eqx.filter_jit(problem.init)(jax.random.fold_in(jax.random.key(0), 0))
    params = first if given is None else given
    return {
        "problem": problem.describe() | {"digest": digest(*arrays_in(problem))},
        "start": "drawn" if given is None else "given",
        "parameters of the start": digest(*arrays_in(params)),
        "probes": schedule_of(probes)[1],
        "until": horizon.until,
        "steps": horizon.steps,
        "number of records": horizon.records,
        "parameters recorded": parameters,
        "precision": str(jnp.result_type(*jax.tree.leaves(params))),
    }


class Folder:
    """The blocks of a sweep on disk.

    Args:
        path: The folder.
        common: As `in_common` tells.
    """

    index = INDEX
    what = "sweep"
    patterns: tuple[str, ...] = ("block-*", "flow-*")

    def __init__(self, path: Path, common: dict[str, Any]) -> None:
        """See the class; nothing is read or written."""
        self.path, self.common = path, json.loads(json.dumps(common, default=str))
        self.blocks: list[Lanes] = []
        self._new = False

    @contextlib.contextmanager
    def opened(self, fresh: bool) -> Iterator[None]:
        """Read the list of blocks, if there is one; what is refused in the body leaves none behind.

        Nothing is written before `begin` or `add`. With `fresh` what was there is set aside then,
        and put back where the body refuses before a block has begun.

        Raises:
            InputError: If the folder is used for other things.
            OtherRunError: If it holds another sweep.
            StoreError: If its list is damaged.
        """
        index = self.path / self.index
        with writing(self.path):
            if not index.exists():  # of one that was killed as it replaced another
                self._put_back()
        require_own(self.path, self.index, self._begun)
        with writing(self.path):
            self._new = new = fresh or not index.exists()
        if not self._new:
            self._read_list(index)
        try:
            yield
        except InputError:
            begun = new and not self._new
            if begun and not any(any(self.path.glob(pattern)) for pattern in self.patterns):
                with contextlib.suppress(OSError):
                    index.unlink()
                    self._put_back()
            raise
        finally:
            shutil.rmtree(self.path / ASIDE, ignore_errors=True)

    def begin(self) -> None:
        """Make a new folder, or set an old one aside: from here on it is this one's."""
        if self._new:
            with writing(self.path):
                if (self.path / self.index).exists():
                    self._set_aside()
                self.path.mkdir(parents=True, exist_ok=True)
                self._write()
            self._new = False

    def _read_list(self, index: Path) -> None:
        try:
            stored = unsealed(index)
        except (OSError, StoreError):
            raise StoreError(
                f"{index} is missing or damaged, so the {self.what} cannot go on; the results "
                "beside it can be read with xarray.open_zarr: give another folder, or ask for a "
                "fresh run (fresh=True)"
            ) from None
        if stored.get("format") != FORMAT or stored["common"] != self.common:
            changes = "; ".join(changes_between(stored.get("common", {}), self.common))
            told = changes or "written by another version"
            raise OtherRunError(
                f"{self.path} holds another {self.what} ({told}); give another folder, or ask for "
                "a fresh run (fresh=True) to replace it"
            )
        self.blocks = [tuple(Place(*lane) for lane in lanes) for lanes in stored["blocks"]]

    def add(self, blocks: Sequence[Lanes]) -> None:
        """Put blocks on the list, before any of them is begun."""
        if blocks:
            self.begin()
            self.blocks += blocks
            with writing(self.path):
                self._write()

    def place(self, lanes: Lanes) -> Path:
        """Where the store of a block is."""
        return self.path / f"{block_name(fingerprint(self.common), lanes)}.zarr"

    def read(self, lanes: Lanes) -> xr.Dataset | None:
        """The records of a block; None if it is not finished.

        Raises:
            StoreError: If it is damaged.
        """
        place = self.place(lanes)
        store = ZarrStore(place, AXES)
        if not store.exists():
            return None
        dataset = store.dataset()
        if dataset.attrs.get("block", place.stem) != place.stem:  # older versions do not say
            raise StoreError(
                f"{place} holds block {dataset.attrs['block']}; put it back under its own name, or "
                "ask for a fresh run (fresh=True)"
            )
        if not dataset.attrs.get("finished", False):
            return None
        store.check()
        return labelled(dataset)

    def _write(self) -> None:
        content = {
            "format": FORMAT,
            "common": self.common,
            "blocks": [[list(lane) for lane in lanes] for lanes in self.blocks],
        }
        replace(self.path / self.index, sealed(content))

    def _set_aside(self) -> None:
        """Move away what a sweep has left, its list last."""
        aside = self.path / ASIDE
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        for old in [path for pattern in self.patterns for path in self.path.glob(pattern)]:
            old.rename(aside / old.name)
        (self.path / self.index).rename(aside / self.index)

    def _put_back(self) -> None:
        """Undo `_set_aside`, if it was done."""
        aside = self.path / ASIDE
        if (aside / self.index).exists():
            for old in [path for path in aside.iterdir() if path.name != self.index]:
                old.rename(self.path / old.name)
            (aside / self.index).rename(self.path / self.index)

    def _begun(self, file: Path) -> bool:
        """Whether a file is there before the list of blocks: the lock, a list half written."""
        partial = file.name.startswith(self.index) and file.suffix == ".partial"
        return is_lock(file) or partial
