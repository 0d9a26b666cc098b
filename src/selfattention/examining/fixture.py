"""A pytest fixture that holds somebody's attention to what it is. In conftest.py and in a test::

    pytest_plugins = ["selfattention.examining.fixture"]

    def test_attention(examined):
        from package.module import attention
        examined(attention, expect="torch")

`examined` takes what `examine` takes, gives the verdict, and fails the test where that is no ✓.
"""

from selfattention.examine import examine
from selfattention.extras import needed

with needed():
    import pytest


@pytest.fixture
def examined():
    """`examine`, which fails the test with the whole verdict for its message unless it is right."""

    def held(mine, **options):
        said = examine(mine, **options)
        if not said:
            pytest.fail(str(said), pytrace=False)
        return said

    return held
