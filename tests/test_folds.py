"""Which cells of a chapter become a line, and what it says."""

import pytest
from folds import line_for

DRAWN = [{"output_type": "display_data", "data": {"image/png": "…", "text/plain": "<Figure>"}}]


def printed(lines):
    return [{"output_type": "stream", "name": "stdout", "text": ["1\n"] * lines}]


@pytest.mark.parametrize(
    ("source", "outputs", "line"),
    [
        ('import numpy as np\n\nplt.style.use("book")', [], "Imports"),
        ("assert a == b", [], "1 check ran: ✓"),
        ("c = a @ b\nnp.testing.assert_allclose(c, d)\nassert c.any()", [], "2 checks ran: ✓"),
        ("c = a @ b\nassert c.any()\nprint(c)", printed(1), None),
        ("c = a @ b", [], None),
        (
            "for x in cases:\n    try:\n        f(x)\n    except ValueError as error:\n        print(error)\n"
            '    else:\n        raise AssertionError("no")',
            printed(2),
            "1 check ran: ✓",
        ),
        ("show_source(formulas.softmax)", printed(9), "The source of softmax"),
        ("drawings.rows(ax, A)\nplt.show()", DRAWN, "The code of this figure"),
        ("plt.show()\nassert x\nassert y", DRAWN, "The code of this figure; 2 checks ran: ✓"),
        ("for x in xs:\n    print(x)", printed(4), "The code of this table"),
        ("for x in xs:\n    print(x)", printed(3), None),
    ],
)
def test_a_cell_and_its_line(source, outputs, line):
    assert line_for({"source": source, "outputs": outputs, "metadata": {}}) == line


@pytest.mark.parametrize("tag", ["exercise", "solution"])
def test_the_reader_s_own_cells_stay_as_they_are(tag):
    assert line_for({"source": "assert a", "outputs": [], "metadata": {"tags": [tag]}}) is None


def test_nothing_is_said_to_have_run_that_raised():
    raised = [{"output_type": "error", "ename": "AssertionError"}]
    assert line_for({"source": "assert a", "outputs": raised, "metadata": {}}) is None
