"""A process that kills itself while it stores a run, for tests of what is found afterwards."""

import os
import signal
from pathlib import Path
from types import ModuleType

from thalweg.storage import files


def kill_at(count: int, *places: ModuleType) -> None:
    """Have the process kill itself (SIGKILL) at that many files that are replaced.

    Before it, in the middle of writing, or after it, in turn.

    Args:
        count: Which call.
        places: The modules that call it by a name of their own.
    """
    calls, replace = 0, files.replace

    def watched(path: Path, content: bytes) -> None:
        nonlocal calls
        calls += 1
        if calls == count and count % 3 == 1:
            path.with_name(path.name + ".partial").write_bytes(content[: len(content) // 2])
        if calls != count or count % 3 == 2:
            replace(path, content)
        if calls == count:
            os.kill(os.getpid(), signal.SIGKILL)

    for place in places:
        assert place.replace is replace
        place.replace = watched
