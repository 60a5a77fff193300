"""Kernels on disk: the same numbers, block by block, whatever happens to the process."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from killed_kernel import example

from thalweg import InputError
from thalweg.kernels import stored, tangent_kernel, tangent_kernel_to_zarr
from thalweg.storage.files import sealed


def counted(monkeypatch, stop=None):
    """How often blocks are evaluated; the evaluation after `stop` of them fails."""
    calls, evaluate = [], stored.evaluate

    def counting(*arguments):
        if len(calls) == stop:
            raise KeyboardInterrupt
        calls.append(1)
        return evaluate(*arguments)

    monkeypatch.setattr(stored, "evaluate", counting)
    return calls


@pytest.mark.parametrize("outputs", ["full", "diagonal", "trace"])
def test_what_is_stored_is_the_kernel(tmp_path, outputs):
    problem, params = example()
    path = tmp_path / "deep" / "kernel.zarr"
    array = tangent_kernel_to_zarr(problem, params, path, outputs=outputs, block=4)
    kernel = tangent_kernel(problem, params, outputs=outputs, block=4)
    assert np.array_equal(array[...], kernel)
    assert array.chunks[:2] == (4, 4)


def test_two_sets_of_examples(tmp_path):
    problem, params = example()
    new = np.random.default_rng(1).normal(size=(3, 4))
    options = {"x2": new, "where": "*/weight", "method": "products", "block": 2}
    array = tangent_kernel_to_zarr(problem, params, tmp_path / "k.zarr", **options)
    assert np.array_equal(array[...], tangent_kernel(problem, params, **options))


def test_interrupted_it_goes_on_and_ends_in_the_same_bits(tmp_path, monkeypatch):
    problem, params = example()
    whole = tangent_kernel_to_zarr(problem, params, tmp_path / "whole.zarr", block=2)[...]
    path = tmp_path / "k.zarr"
    with monkeypatch.context() as patch:
        counted(patch, stop=4)
        with pytest.raises(KeyboardInterrupt):
            tangent_kernel_to_zarr(problem, params, path, block=2)
    with monkeypatch.context() as patch:
        calls = counted(patch)
        assert np.array_equal(tangent_kernel_to_zarr(problem, params, path, block=2)[...], whole)
        assert len(calls) == 2  # of the six blocks on and above the diagonal
    with monkeypatch.context() as patch:
        calls = counted(patch)
        tangent_kernel_to_zarr(problem, params, path, block=2)
        assert not calls


def test_killed_it_loses_the_block_at_hand_only(tmp_path, monkeypatch):
    path = tmp_path / "k.zarr"
    script = str(Path(__file__).with_name("killed_kernel.py"))
    killed = subprocess.run([sys.executable, script, str(path), "4"], check=False)
    assert killed.returncode == -9
    problem, params = example()
    calls = counted(monkeypatch)
    array = tangent_kernel_to_zarr(problem, params, path, block=2)
    assert len(calls) == 3
    assert np.array_equal(array[...], tangent_kernel(problem, params, block=2))


def test_a_block_that_was_half_written_is_written_again(tmp_path, monkeypatch):
    """A chunk is there and damaged, its mark is not: the state that a kill while writing leaves."""
    problem, params = example()
    path = tmp_path / "k.zarr"
    whole = tangent_kernel_to_zarr(problem, params, path, block=4)[...]
    mark = tmp_path / "k.blocks.json"
    content = json.loads(mark.read_text())
    content["blocks"] = [block for block in content["blocks"] if block[:2] != [0, 4]]
    content.pop("checksum")
    mark.write_bytes(sealed(content))
    for corner in ("0/1", "1/0"):
        chunk = path / "c" / corner / "0" / "0"
        chunk.write_bytes(chunk.read_bytes()[:5])
    assert np.array_equal(tangent_kernel_to_zarr(problem, params, path, block=4)[...], whole)


def test_blocks_in_each_others_place_are_told(tmp_path):
    """Each of them is intact, which is all that its checksum can say."""
    problem, params = example()
    path = tmp_path / "k.zarr"
    tangent_kernel_to_zarr(problem, params, path, outputs="trace", block=4)
    first, second = path / "c/0/1", path / "c/1/0"
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)
    with pytest.raises(InputError, match=r"not written there \(block 0, 4\); delete it"):
        tangent_kernel_to_zarr(problem, params, path, outputs="trace", block=4)


def test_killed_before_the_array_was_there_it_starts_again(tmp_path, monkeypatch):
    problem, params = example()
    path = tmp_path / "k.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(stored.zarr, "create_array", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tangent_kernel_to_zarr(problem, params, path, block=4)
    array = tangent_kernel_to_zarr(problem, params, path, block=4)
    assert np.array_equal(array[...], tangent_kernel(problem, params, block=4))


def test_another_kernel_is_not_continued(tmp_path):
    problem, params = example()
    path = tmp_path / "k.zarr"
    tangent_kernel_to_zarr(problem, params, path, block=4)
    moved = jax.tree.map(lambda leaf: leaf + 1e-9, params)
    for changed in (
        lambda: tangent_kernel_to_zarr(problem, moved, path, block=4),
        lambda: tangent_kernel_to_zarr(problem, params, path, block=2),
        lambda: tangent_kernel_to_zarr(problem, params, path, jnp.ones((6, 4)), block=4),
        lambda: tangent_kernel_to_zarr(problem, params, path, block=4, where="0/*"),
    ):
        with pytest.raises(InputError, match="another tangent kernel"):
            changed()


def test_what_is_no_kernel_is_left_alone(tmp_path):
    problem, params = example()
    folder = tmp_path / "notes.zarr"
    folder.mkdir()
    with pytest.raises(InputError, match="give another path"):
        tangent_kernel_to_zarr(problem, params, folder)
    with pytest.raises(InputError, match=r"ends in \.zarr"):
        tangent_kernel_to_zarr(problem, params, tmp_path / "kernel")
    (tmp_path / "bad.blocks.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        tangent_kernel_to_zarr(problem, params, tmp_path / "bad.zarr")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("harm", ["missing", "flip", "cut", "metadata"])
@pytest.mark.parametrize("corner", ["0/1", "1/0"])
def test_damage_of_a_finished_kernel_is_told(tmp_path, harm, corner):
    problem, params = example()
    path = tmp_path / "k.zarr"
    tangent_kernel_to_zarr(problem, params, path, block=4)
    file = path / "zarr.json" if harm == "metadata" else path / "c" / corner / "0" / "0"
    content = file.read_bytes()
    if harm == "missing":
        file.unlink()
    elif harm == "cut":
        file.write_bytes(content[:-1])
    else:
        at = content.index(b"NaN") if harm == "metadata" else len(content) // 2
        file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    name = "zarr.json" if harm == "metadata" else f"c/{corner}/0/0"
    with pytest.raises(InputError, match=f"{name}.*to start again"):
        tangent_kernel_to_zarr(problem, params, path, block=4)


def test_a_kernel_in_use_is_refused(tmp_path, monkeypatch):
    problem, params = example()
    path, evaluate = tmp_path / "k.zarr", stored.evaluate

    def meanwhile(*arguments):
        with pytest.raises(InputError, match=r"k\.zarr is in use by process"):
            tangent_kernel_to_zarr(problem, params, path, block=4)
        return evaluate(*arguments)

    monkeypatch.setattr(stored, "evaluate", meanwhile)
    array = tangent_kernel_to_zarr(problem, params, path, block=4)
    assert np.array_equal(array[...], tangent_kernel(problem, params, block=4))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["k.blocks.json", "k.zarr"]
