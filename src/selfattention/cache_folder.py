"""The folder that outlives the process: models that were fetched, and kernels that were compiled, lie there.

It is `SELFATTENTION_CACHE`, else `selfattention` in `XDG_CACHE_HOME`, else ~/.cache/selfattention.
"""

import os
from pathlib import Path


def folder() -> Path:
    """Where it is, or will be. Raises RuntimeError where the user has no home, and names no other folder."""
    if named := os.environ.get("SELFATTENTION_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "selfattention"
