"""Which property tells which mutant from the right function.

python -m selfattention.mutants.kill_matrix
"""

import numpy as np

from selfattention.mutants import RIGHT, Function, mutants, properties, right
from selfattention.printed import printed


def holds(candidate: Function, prove: Function) -> bool:
    """Whether the candidate has the property; one that crashes has not."""
    with np.errstate(all="ignore"):
        try:
            prove(candidate)
        except (AssertionError, ArithmeticError, IndexError, TypeError, ValueError, RuntimeError):
            return False
        except AttributeError:  # a tuple, or what else has no shape
            return False
    return True


def killers(target: str, function: Function) -> list[str]:
    """The names of the properties of `target` that a function does not have; none if it survives."""
    return [prove.__name__ for prove in properties(target) if not holds(function, prove)]


def kill_matrix(target: str) -> np.ndarray:
    """Booleans, mutants × properties: True where the property does not hold, the mutant is killed."""
    return np.array([[not holds(m.function, p) for p in properties(target)] for m in mutants(target)])


def table(target: str) -> str:
    """The matrix as text: a row per mutant, a column per property, × where it is killed."""
    names = [p.__name__ for p in properties(target)]
    killed = kill_matrix(target)
    spared = [not holds(right(target), p) for p in properties(target)]
    width = max(len(m.name) for m in mutants(target))
    lines = [f"\n{target}", *(f"{' ' * width}  {'│ ' * i}{name}" for i, name in enumerate(names))]
    rows = zip([*(m.name for m in mutants(target)), "(the right one)"], [*killed, spared], strict=True)
    return "\n".join(lines + [f"{name:{width}}  {' '.join('·×'[int(k)] for k in row)}" for name, row in rows])


def main() -> None:
    counts = []
    for target in RIGHT:
        print(printed(table(target)))
        counts.append(kill_matrix(target).any(1))
    killed = np.concatenate(counts)
    print(f"\n{killed.sum()} of {len(killed)} mutants are killed")


if __name__ == "__main__":
    main()
