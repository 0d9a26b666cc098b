"""pytest runs the notebooks as `execute.py` does: importing it sets the kernels' threads.

A chapter that loads the language model is skipped where that cannot be had.
"""

import os

import execute  # noqa: F401
import language
import pytest


def pytest_collection_modifyitems(items):
    cells = [item for item in items if item.path.suffix == ".ipynb"]
    of_the_model = {path for path in {cell.path for cell in cells} if language.needs_it(path)}
    why = of_the_model and language.why_not()
    if why and not os.environ.get("REQUIRE_MODEL"):
        for cell in cells:
            if cell.path in of_the_model:
                cell.add_marker(pytest.mark.skip(reason=why))
