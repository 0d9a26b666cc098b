"""What is not installed, and what to install for it: the package itself needs NumPy and jaxtyping only."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Which of pyproject.toml's extras brings a library.
EXTRAS = {
    "torch": "torch",
    "numba": "compiled",
    "llvmlite": "compiled",  # Numba's own
    "triton": "compiled",
    "matplotlib": "light",
    "IPython": "light",
    "sklearn": "notebooks",  # scikit-learn, under the name that is imported
    "scipy": "notebooks",
    "PIL": "notebooks",  # Pillow
    "tokenizers": "language",
    "pytest": "pytest",
}


def advice(library: str) -> str:
    """What to do about a library that is not installed."""
    if library == "triton" and sys.platform != "linux":
        return "triton is not installed, and exists for Linux only"
    return f"{library} is not installed: pip install 'selfattention[{EXTRAS[library]}]'"


@contextmanager
def needed() -> Iterator[None]:
    """Around an import: if the library is missing, the error says what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        raise ModuleNotFoundError(advice(error.name), name=error.name) from None
