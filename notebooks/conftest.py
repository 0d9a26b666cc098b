"""pytest runs the notebooks as `execute.py` does: importing it sets the kernels' threads and resolution.

A chapter that loads the language model is skipped where that cannot be had. nbval compares what cells print;
their pictures are compared here, in the same run.
"""

import os

import execute
import language
import pictures
import pytest
from nbval.plugin import IPyNbCell


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """After a cell has run and printed what it should: has it drawn what it should?"""
    result = yield
    if isinstance(item, IPyNbCell):
        drawn = [execute.in_few_colours(png) for png in pictures.pngs(item.test_outputs)]
        said = pictures.changed(drawn, pictures.pngs(item.cell.outputs))
        assert not said, f"{item.path.stem}, cell {item.cell.id}: {said}"
    return result


def pytest_collection_modifyitems(items):
    cells = [item for item in items if item.path.suffix == ".ipynb"]
    of_the_model = {path for path in {cell.path for cell in cells} if language.needs_it(path)}
    why = of_the_model and language.why_not()
    if why and not os.environ.get("REQUIRE_MODEL"):
        for cell in cells:
            if cell.path in of_the_model:
                cell.add_marker(pytest.mark.skip(reason=why))
