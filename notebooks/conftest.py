"""pytest runs the notebooks as `execute.py` does: importing it sets the kernels' threads."""

import execute  # noqa: F401
