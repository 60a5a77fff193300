"""Tangent kernels too large for memory: computed block by block into a Zarr array on disk.

`<name>.zarr` holds the kernel, one chunk for each block; its neighbour `<name>.blocks.json` says
which kernel it is and which blocks are final. A block is written before it is marked, and the mark
is replaced as a whole, so that a process killed at any moment loses the block at hand only. Chunks
and mark carry checksums: what was damaged or lost since is told, never read.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from jaxtyping import Array

from thalweg.core.digest import identity
from thalweg.core.errors import require
from thalweg.core.tree import Params
from thalweg.kernels.cost import MEMORY
from thalweg.kernels.tangent import Blocks, evaluate, mirrored, plan_blocks
from thalweg.problems.problem import Problem, Supervised
from thalweg.storage import arrays
from thalweg.storage.files import StoreError, replace, sealed, unsealed, writing
from thalweg.storage.lock import locked

FORMAT = 2  # 1 had no checksums


def tangent_kernel_to_zarr(
    problem: Problem,
    params: Params,
    path: str | Path,
    x1: Array | None = None,
    x2: Array | None = None,
    *,
    outputs: str = "full",
    where: str = "*",
    method: str = "auto",
    block: int | None = None,
    memory: float = MEMORY,
) -> zarr.Array:
    """`tangent_kernel`, written to disk block by block; called again, it goes on where it was.

        K[i, j, a, b] = <d f_a(x1_i) / d theta, d f_b(x2_j) / d theta>

    Args:
        problem: A `Supervised`.
        params: The point.
        path: Where the array goes, a name that ends in .zarr.
        x1: Examples (n1, ...); those of the problem by default.
        x2: Examples (n2, ...); x1 by default.
        outputs: "full", "diagonal" or "trace".
        where: A pattern of arrays of parameters.
        method: See `tangent_kernel`.
        block: Examples of each side in a block, which is one chunk on disk; by default as many as
            `memory` has room for.
        memory: Bytes for a block; the block of the kernel and its mirror image come on top.

    Returns:
        The array on disk, of the shape that `tangent_kernel` returns, complete. The bits are the
        same however often the work was interrupted. Error: rounding.

    Raises:
        InputError: If the path holds something else, another kernel (its point, examples or
            choices differ) or a damaged one, or another process is at it; if the disk refuses;
            otherwise as `tangent_kernel`.

    Cost: as `kernel_cost`, for the blocks that are missing; those that are there are read once.

    Examples:
        >>> data = (np.diag([1.0, 2.0]), np.zeros((2, 1)))
        >>> problem = tw.problems.supervised(tw.models.linear([]), data)
        >>> params = problem.init(jax.random.key(0))
        >>> K = tw.kernels.tangent_kernel_to_zarr(problem, params, "kernel.zarr", outputs="trace")
        >>> K[:].tolist()
        [[1.0, 0.0], [0.0, 4.0]]
    """
    path = Path(path)
    require(path.suffix == ".zarr", f"the path came as {path}; give a name that ends in .zarr")
    options: dict[str, Any] = {"outputs": outputs, "where": where, "method": method}
    cut = plan_blocks(problem, params, x1, x2, block=block, memory=memory, **options)
    assert isinstance(problem, Supervised)
    account = [problem.describe()["functions"], repr(problem.model), cut, params]
    with locked(path.with_suffix(".lock"), path), writing(path):
        mark = _opened(path, identity(account))
        if mark["blocks"] is None:
            _laid_out(path, cut, problem.targets.shape[1])
            mark["blocks"] = []
            _write_mark(path, mark)
        _check(path, cut, mark["blocks"])
        array = zarr.open_array(path, mode="r+", zarr_format=3)
        done = {(row, column) for row, column, *_ in mark["blocks"]}
        arrays.clear_partials(path)
        with zarr.config.set(arrays.WHOLE_CHUNKS):
            for row, column in cut.cells():
                if (row.start, column.start) in done:
                    continue
                (kernel,) = evaluate(problem.model, params, cut, row, column)
                array[row, column] = np.asarray(kernel)
                if cut.symmetric and row != column:
                    array[column, row] = np.asarray(mirrored(kernel))
                here = [row.start, column.start]
                mark["blocks"].append([*here, _digest(path, array, cut, here)])
                _write_mark(path, mark)
        return zarr.open_array(path, mode="r", zarr_format=3)


def _mark_of(path: Path) -> Path:
    return path.with_suffix(".blocks.json")


def _opened(path: Path, name: str) -> dict[str, Any]:
    """The mark of the kernel at the path, where "blocks" is None as long as it has no array."""
    file = _mark_of(path)
    if not file.exists():
        require(
            not path.exists(),
            f"{path} exists and is no tangent kernel that can be continued; give another path",
        )
        mark = {"format": FORMAT, "kernel": name, "blocks": None}
        file.parent.mkdir(parents=True, exist_ok=True)
        _write_mark(path, mark)
        return mark
    try:
        mark = json.loads(file.read_bytes())
        if mark["format"] != 1:
            mark = unsealed(file)
        known = mark["format"], mark["kernel"]
    except (ValueError, KeyError, TypeError):
        raise StoreError(f"{file} is damaged; delete it and {path} to start again") from None
    require(
        known[0] != 1,
        f"{path} was written before stored kernels had checksums; delete it and {file} to compute "
        "it again, or give another path",
    )
    require(
        known == (FORMAT, name),
        f"{path} holds another tangent kernel (another point, examples, net or choice of method, "
        "outputs, parameters or block); give another path, or delete it to start again",
    )
    require(
        mark["blocks"] is None or path.exists(),
        f"{path} is gone, and {file} is still there; delete it to start again",
    )
    return mark


def _laid_out(path: Path, cut: Blocks, k: int) -> None:
    """An empty array; what an earlier process that was killed here left is replaced."""
    if path.exists():
        shutil.rmtree(path)
    tail = {"full": (k, k), "diagonal": (k,), "trace": ()}[cut.plan.outputs]
    n1, n2 = len(cut.x1), len(cut.x2)
    zarr.create_array(
        path,
        shape=(n1, n2, *tail),
        chunks=(min(cut.size, n1), min(cut.size, n2), *tail),
        dtype=cut.x1.dtype,
        fill_value=np.nan,
        dimension_names=("example_1", "example_2", "output_1", "output_2")[: 2 + len(tail)],
        compressors=arrays.COMPRESSORS,
    )
    arrays.seal(path)


def _check(path: Path, cut: Blocks, blocks: list[list[Any]]) -> None:
    """Read every final block once, and refuse to go on if one is missing or damaged."""
    try:
        array = arrays.opened(path)
        assert isinstance(array, zarr.Array)
        lost = arrays.lost_chunks(path, array, _places(cut, blocks, array.ndim - 2))
        if lost:
            raise StoreError(f"{path} has missing or damaged files ({arrays.file_names(lost)})")
        for row, column, *told in blocks:  # older versions have told nothing
            if told not in ([], [_digest(path, array, cut, [row, column])]):
                raise StoreError(
                    f"{path} holds intact files that were not written there (block {row}, {column})"
                )
    except StoreError as error:
        raise StoreError(f"{error}; delete it and {_mark_of(path)} to start again") from error


def _digest(path: Path, array: zarr.Array, cut: Blocks, corner: list[int]) -> str:
    """Of the chunks of a block: they know their own checksum, but not whose they are."""
    whole = hashlib.sha256()
    for place in _places(cut, [corner], array.ndim - 2):
        whole.update(arrays.chunk_file(path, array, place).read_bytes())
    return whole.hexdigest()


def _places(cut: Blocks, blocks: list[list[Any]], further: int) -> Iterator[tuple[int, ...]]:
    """The chunks of blocks, each with its mirror image where the kernel is symmetric."""
    for row, column, *_ in blocks:
        place = row // cut.size, column // cut.size
        yield (*place, *(0,) * further)
        if cut.symmetric and row != column:
            yield (*place[::-1], *(0,) * further)


def _write_mark(path: Path, mark: dict[str, Any]) -> None:
    replace(_mark_of(path), sealed(mark))
