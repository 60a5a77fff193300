"""Files that would not fit into memory are refused by what their headers say."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.problems import read_data
from thalweg.problems.data import unfolded


def header(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": "<f8", "fortran_order": False, "shape": shape}
    )
    return file.getvalue()


@pytest.fixture
def small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thalweg.core.memory.available_memory", lambda: 1_000_000)


def refused(path: Path, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read_data(path)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("small_machine")
def test_an_archive_that_unfolds(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "zeros.npz", x=np.zeros((1000, 1000)), y=np.zeros(1000))
    assert (tmp_path / "zeros.npz").stat().st_size < 20_000
    refused(tmp_path / "zeros.npz", r"at least 8\.02 MB of memory, and 1 MB are available")


def test_an_array_that_claims_more_than_there_is(tmp_path: Path) -> None:
    """NumPy would allocate what the header says, here eight terabytes."""
    with zipfile.ZipFile(tmp_path / "liar.npz", "w") as archive:
        archive.writestr("x.npy", header((10**6, 10**6)))
        archive.writestr("y.npy", header((2,)) + bytes(16))
    refused(tmp_path / "liar.npz", r"x\.npy claims 8000000000000 bytes .* damaged")


@pytest.mark.usefixtures("small_machine")
def test_tables(tmp_path: Path) -> None:
    (tmp_path / "long.csv").write_text("a,b\n" + "1,2\n" * 100_000)
    refused(tmp_path / "long.csv", r"at least 1\.2 MB of memory")
    (tmp_path / "short.csv").write_text("a,b\n1,2\n2,4\n3,5\n")
    assert read_data(tmp_path / "short.csv", target="b").inputs.shape == (3, 1)


@pytest.mark.usefixtures("small_machine")
def test_a_parquet_file_of_one_value_repeated(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    table = pandas.DataFrame({"a": np.zeros(10**6), "b": np.zeros(10**6)})
    table.to_parquet(tmp_path / "zeros.parquet")
    assert (tmp_path / "zeros.parquet").stat().st_size < 20_000
    refused(tmp_path / "zeros.parquet", r"at least 16 MB of memory")


def test_what_fits_is_counted_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[float] = []
    monkeypatch.setattr(unfolded, "require_memory", lambda size, *_: counted.append(size))
    np.savez(tmp_path / "a.npz", x=np.ones((300, 7)), y=np.linspace(0, 1, 300))
    read_data(tmp_path / "a.npz")
    assert counted[0] == pytest.approx(2 * 8 * 300 * 8, rel=0.1)  # the file, and its arrays
