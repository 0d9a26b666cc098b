"""Keras on PyTorch."""

from selfattention.dialects.asking import Library
from selfattention.dialects.libraries.keras_calls import DOORS

LIBRARY = Library(
    title="Keras on PyTorch",
    packages=("keras==3.15.1", "torch==2.13.0", "numpy==2.4.6"),
    doors=DOORS,
    reports=("keras", "torch"),
    settings={"KERAS_BACKEND": "torch", "JAX_PLATFORMS": "cpu"},
    module="keras",
)
