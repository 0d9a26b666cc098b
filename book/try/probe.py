"""What of a chapter runs with NumPy alone. Reads {chapter: {code, starters}}, prints what it found, as JSON.

`python -I -S probe.py FOLDER`, where FOLDER holds NumPy and the unpacked pack, and nothing else.
"""

import ast
import json
import sys
from contextlib import redirect_stdout


def look_at(code, starters):
    """The imports that work, and the exercises that can be tried; those that cannot, and why."""
    imports = with_formulas("\n".join(filter(None, map(usable, imports_of(code)))))
    reasons = {name: refused(name, f"{imports}\n{starter}") for name, starter in starters.items()}
    return {
        "imports": imports,
        "offered": [name for name, reason in reasons.items() if not reason],
        "refused": {name: reason for name, reason in reasons.items() if reason},
    }


def imports_of(code):
    """Those of NumPy and of the course."""
    for statement in ast.parse(code).body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            module = getattr(statement, "module", None) or statement.names[0].name
            if module.split(".")[0] in ("numpy", "selfattention"):
                yield statement


def usable(statement):
    """The statement with those of its names that can be imported here."""
    statement.names = [alias for alias in statement.names if works(statement, alias)]
    return statement.names and formatted(statement)


def works(statement, alias):
    one = ast.Import([alias])
    if isinstance(statement, ast.ImportFrom):
        one = ast.ImportFrom(statement.module, [alias], 0)
    try:
        exec(ast.unparse(one), {})
    except ImportError:
        return False
    return True


def formatted(statement):
    line = ast.unparse(statement)
    if len(line) <= 80:
        return line
    names = "".join(f"    {ast.unparse(alias)},\n" for alias in statement.names)
    return f"{line.partition(' import ')[0]} import (\n{names})"


def with_formulas(imports):
    """A reader may want any formula, not only those that the chapter takes."""
    names = {}
    exec(imports, names)
    return imports if "formulas" in names else f"{imports}\nfrom selfattention import formulas"


def refused(name, source):
    """Why an exercise cannot be tried, if it cannot: its starter stops, or its solution does."""
    from selfattention import check

    exercise = getattr(check, name)
    try:
        exec(source, {})
        exercise.trials(exercise.solution)
    except Exception as error:
        return str(error)
    return None


if __name__ == "__main__":
    sys.path.append(sys.argv[1])
    with redirect_stdout(sys.stderr):
        found = {chapter: look_at(**given) for chapter, given in json.load(sys.stdin).items()}
    print(json.dumps(found))
