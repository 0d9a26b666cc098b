"""A reader's cell, run as a notebook runs one: what it would show, as text."""

import ast
import linecache
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from traceback import TracebackException

NAMES = set()  # of the cells that have run: a traceback shows their lines and no others


def run(source, name, namespace):
    """What the cell prints and its last expression, or where in the reader's own lines it stopped."""
    NAMES.add(name)
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    shown = StringIO()
    with redirect_stdout(shown), redirect_stderr(shown):
        try:
            execute(ast.parse(source, name), name, namespace)
        except BaseException as error:  # SystemExit, too: the cell is over, the page is not
            print(stopped(error), end="")
    return shown.getvalue()


def execute(tree, name, namespace):
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), namespace)
    if last:
        value = eval(compile(ast.Expression(last.value), name, "eval"), namespace)
        if value is not None:
            print(repr(value))


def stopped(error):
    """The traceback without what lies between the reader's lines and the error."""
    if isinstance(error, ModuleNotFoundError):  # Pyodide's own advice does not work here
        error.msg = f"there is no {error.name} on this page, only NumPy and the course's own modules"
    told = TracebackException.from_exception(error)
    told.stack[:] = [frame for frame in told.stack if frame.filename in NAMES]
    return "".join(told.format(chain=False))
