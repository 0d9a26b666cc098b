"""Keras on JAX."""

from selfattention.dialects.asking import Library
from selfattention.dialects.libraries.keras_calls import DOORS

LIBRARY = Library(
    title="Keras on JAX",
    packages=("keras==3.15.1", "jax==0.10.2", "numpy==2.4.6"),
    doors=DOORS,
    reports=("keras", "jax"),
    settings={"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
    module="keras",
)
