"""What is kept of how a run came to be."""

from __future__ import annotations

import sys

import pytest

from thalweg.trajectory.provenance import command_line


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["/usr/bin/thalweg", "race", "a b"], "thalweg race 'a b'"),
        (["/lib/thalweg/__main__.py", "race", "digits"], "python -m thalweg race digits"),
        ([""], "python"),
        (["/lib/ipykernel_launcher.py", "-f", "/tmp/a.json"], "a notebook"),
        (["my scripts/run.py", "3"], "python -X dev 'my scripts/run.py' 3"),
    ],
)
def test_the_command_can_be_given_again(
    argv: list[str], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", ["/usr/bin/python3", "-X", "dev", *argv])
    assert command_line() == command
