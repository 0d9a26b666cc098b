"""Show the tested source of a function inside a page, so that no page holds a copy of it."""

import inspect

from IPython.display import Markdown


def show_source(function):
    """The text of `function` as it stands in the package, docstring included."""
    lines = inspect.getsource(inspect.unwrap(function)).splitlines()
    return Markdown("```python\n" + "\n".join(line for line in lines if not line.startswith("@")) + "\n```")
