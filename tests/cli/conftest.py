"""The command line, run in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command_line import Reached, Said

from thalweg.cli import main


@pytest.fixture
def thalweg_says(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run a command line."""

    def run(*arguments: object) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as done:
            main([str(a) for a in arguments])
        assert isinstance(done.value.code, int)
        return Said(done.value.code, *capsys.readouterr())

    return run


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop where the work would begin."""

    def reached(*_: Any, **__: Any) -> None:
        raise Reached

    monkeypatch.setattr("thalweg.diagnosis.diagnosis.run", reached)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the user's files, good and bad."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 3))
    y = x @ [1.0, 2.0, -1.0] + 0.1 * rng.normal(size=30)
    labels = (y > 0).astype(int)
    frame = pd.DataFrame(x * [1.0, 40.0, 0.1] + 5, columns=["a", "b", "c"])
    frame.assign(price=y).to_csv("table.csv", index=False)
    frame.assign(kind=np.where(labels, "dear", "cheap")).to_parquet("kinds.parquet", index=False)
    np.savez("good.npz", x=x, y=y)
    np.savez("labels.npz", x=x, y=labels)
    holed = x.copy()
    holed[3, 1] = np.nan
    np.savez("nan.npz", x=holed, y=y)
    np.savez("inf.npz", x=x, y=np.where(np.arange(30) == 7, np.inf, y))
    np.savez("constant.npz", x=x, y=np.zeros(30, int))
    np.savez("objects.npz", x=np.asarray([{}, 1], object), y=y[:2])
    np.savez("long.npz", x=x, y=y[:-1])
    np.save(Path("bare.npy"), x)
    Path("bare.npy").rename("bare.npz")
    Path("text.npz").write_text("hello, this is no archive")
    Path("empty.csv").touch()
    Path("header.csv").write_text("a,b\n")
    Path("holes.csv").write_text("a,b\n1,2\n,3\n4,5\n")
    Path("page").mkdir()
    Path("page/page.json").write_text('{"title": 1')
    Path("plain").mkdir()
    return tmp_path
