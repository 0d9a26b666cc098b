"""Show the tested source of a function inside a page, so that no page holds a copy of it."""

import ast
import inspect
import textwrap
from collections.abc import Callable

from selfattention.extras import needed

with needed():
    from IPython.display import Markdown


def show_source(function: Callable[..., object]) -> Markdown:
    """The text of `function` as it stands in the package, docstring included."""
    lines = inspect.getsource(inspect.unwrap(function)).splitlines()
    first = ast.parse(textwrap.dedent("\n".join(lines))).body[0].lineno  # below the decorators
    return Markdown("```python\n" + "\n".join(lines[first - 1 :]) + "\n```")
