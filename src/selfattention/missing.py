"""A notebook where a library is not installed: the cells that need it say so, and all others run.

The students' notebooks call `missing.cells_say_so()` first. Where everything is installed it does nothing.
"""

import ast
import sys
from importlib.util import find_spec
from symtable import symtable
from types import ModuleType

from selfattention.extras import EXTRAS, advice


def libraries() -> list[str]:
    """Those of `extras.EXTRAS` that are not installed."""
    return [library for library in EXTRAS if not _found(library)]


def _found(library):
    try:
        return find_spec(library) is not None
    except (ModuleNotFoundError, ValueError):  # ValueError: something stands in its place
        return False


def cells_say_so() -> None:
    """From the next cell on, each runs up to the first line that needs a missing library, and says which.

    A line needs the library if it imports it, or reads a name that a line which was not run would have made.
    """
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None and libraries():
        shell.ast_transformers.append(Cells(shell))


class Cells:
    """What IPython shows every cell to, as a tree, before it runs it."""

    def __init__(self, shell):
        self.lost = {}  # a name that no cell has made -> the library for want of which
        self.bodies = []  # what may be stopped
        self.namespace = shell.user_ns
        shell.push({"_missing": self, "_show": shell.displayhook}, interactive=False)

    def visit(self, cell):
        """The cell as it is to be run. Its imports are made here: one that fails takes no other along."""
        rest = [one for one in cell.body if not self._imported(one)]
        end, library = self._first_without(rest)
        run, left = rest[:end], rest[end:]
        for name in reads_and_makes(run)[1]:
            self.lost.pop(name, None)
        body = [self._guarded(run if left else _shown(run))] if run else []
        if left:
            self._lose(left, library)
            body += _parsed(f"_missing.say({library!r})")
        return _located(cell, body)

    def _imported(self, statement):
        """Whether the statement is an import that is done with: it was made, or its library is missing."""
        if not isinstance(statement, ast.Import | ast.ImportFrom):
            return False
        try:
            exec(compile(ast.Module([statement], []), "<import>", "exec"), self.namespace)
        except ModuleNotFoundError as error:
            library = _library(error)
            if library is None:
                return False  # it fails once more where it stands, for all to see
            if library not in self.lost.values():
                print(f"{advice(library)}. Cells that need it say so.")
            self._lose([statement], library)
        return True

    def _first_without(self, statements):
        """Where the first statement stands that needs what is lost, and for want of which library it is."""
        made = set()
        for place, statement in enumerate(statements):
            needed, makes = reads_and_makes([statement])
            if lost := sorted((needed - made) & self.lost.keys()):
                return place, self.lost[lost[0]]
            made |= makes
        return len(statements), None

    def _guarded(self, body):
        """The statements; if a function of the package meets a missing library, the cell ends there."""
        self.bodies.append(body)
        (guard,) = _parsed(
            f"try: pass\nexcept ModuleNotFoundError as _error:\n"
            f"    if not _missing.stopped(_error, {len(self.bodies) - 1}): raise"
        )
        guard.body = body
        return guard

    def stopped(self, error, number):
        """Whether it was one of the libraries that may be missing; then what the body would make is lost."""
        library = _library(error)
        if library is not None:
            self._lose(self.bodies[number], library)
            self.say(library)
        return library is not None

    def say(self, library):
        print(f"{library} is not installed; the book shows what it does here.")
        if "matplotlib.pyplot" in sys.modules:
            sys.modules["matplotlib.pyplot"].close("all")  # nobody wants to see a picture with nothing in it

    def _lose(self, statements, library):
        """Nobody has what these statements would have made; what they would have changed is out of date."""
        changed = {
            name for name in changes(statements) if not isinstance(self.namespace.get(name), ModuleType)
        }
        self.lost |= dict.fromkeys(reads_and_makes(statements)[1] | changed, library)


def _library(error):
    library = (error.name or "").partition(".")[0]
    return library if library in EXTRAS else None


def changes(statements) -> set[str]:
    """The names whose values statements change: `x[…] = …`, `x.y = …`, `x.append(…)` on its own line."""
    places = [_changed(node) for node in ast.walk(ast.Module(statements, []))]
    return {place.id for place in places if isinstance(place, ast.Name)}


def _changed(node):
    """What a piece of code changes: the name to the left of all its dots and brackets."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        node = node.value.func
        if not isinstance(node, ast.Attribute):
            return None
    elif isinstance(node, ast.Subscript | ast.Attribute):
        keeps = isinstance(node, ast.Attribute) and node.attr in ("setdefault", "pop")  # and gives a value
        if isinstance(node.ctx, ast.Load) and not keeps:
            return None
    else:
        return None
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return node


def reads_and_makes(statements) -> tuple[set[str], set[str]]:
    """The names that statements read before they make them, within functions too; and those they make."""
    needed, made = set(), set()
    for statement in statements:
        told_apart = _Comprehensions().visit(ast.parse(ast.unparse(statement)))
        table = symtable(ast.unparse(told_apart), "cell", "exec")
        here = [name for name in table.get_symbols() if not name.get_name().startswith(_OWN)]
        reads = {name.get_name() for name in here if name.is_referenced()} | set(_from_outside(table))
        needed |= reads - made
        made |= {name.get_name() for name in here if name.is_assigned() or name.is_imported()}
    return needed, made


_OWN = "_of_a_comprehension_"


class _Comprehensions(ast.NodeTransformer):
    """Marks the names that a comprehension makes: since Python 3.12 they stand among the cell's own."""

    def _marked(self, node):
        first = node.generators[0]
        outside, first.iter = first.iter, ast.Constant(None)  # which is read before any name is made
        self.generic_visit(node)
        targets = [name for part in node.generators for name in ast.walk(part.target)]
        own = {name.id for name in targets if isinstance(name, ast.Name)}
        for name in ast.walk(node):
            if isinstance(name, ast.Name) and name.id in own:
                name.id = _OWN + name.id
        first.iter = self.visit(outside)
        return node

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _marked


def _from_outside(table):
    """What the functions and classes in a piece of code take from the notebook."""
    for inner in table.get_children():
        yield from (name.get_name() for name in inner.get_symbols() if name.is_global())
        yield from _from_outside(inner)


def _shown(statements):
    """The statements; the value of the last is shown, as IPython shows it where it stands alone."""
    *before, last = statements
    if not isinstance(last, ast.Expr):
        return statements
    (shown,) = _parsed("_show(None)")
    shown.value.args = [last.value]
    return [*before, shown]


def _parsed(source):
    return ast.parse(source).body


def _located(cell, body):
    for added in body:
        for node in ast.walk(added):
            if "lineno" in node._attributes and not hasattr(node, "lineno"):
                ast.copy_location(node, cell)
    return ast.fix_missing_locations(ast.Module(body, cell.type_ignores))
