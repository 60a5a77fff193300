"""What is known of a study before anything heavy is imported, and what a run here found."""

from __future__ import annotations

from pathlib import Path

import pytest

from thalweg.core.errors import InputError
from thalweg.lab.card import claims_held


def test_the_verdicts_of_a_run_are_counted(tmp_path: Path) -> None:
    assert claims_held(tmp_path) is None
    rows = ", ".join(
        f'{{"verdict": "{word}"}}'
        for word in ("reproduced", "not reproduced", "reproduced at reduced scale", "not run")
    )
    (tmp_path / "claims.json").write_text(f"[{rows}]")
    assert claims_held(tmp_path) == (2, 4)


@pytest.mark.parametrize("text", ["", "[", "{}x", "7", '[{"claim": "C1"}]', "[3]"])
def test_a_damaged_table_of_claims_is_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "claims.json").write_text(text)
    with pytest.raises(InputError, match=r"claims\.json cannot be read; give the command"):
        claims_held(tmp_path)
