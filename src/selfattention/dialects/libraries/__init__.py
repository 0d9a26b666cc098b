"""The adapters, one file a library: `LIBRARY` says what it is made of, and imports it when it is asked."""

from importlib import import_module
from pathlib import Path

from selfattention.dialects.asking import Library

SHARED = {"jax_arrays", "keras_calls", "node_process", "onnx_models", "torch_arrays"}
NAMES = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py") if path.stem not in SHARED)


def library(name: str) -> Library:
    """The adapter of that name."""
    return import_module(f"selfattention.dialects.libraries.{name}").LIBRARY
