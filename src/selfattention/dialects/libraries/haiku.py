"""Haiku on JAX: its layer, without training."""

import numpy as np

from selfattention.dialects.asking import Asked, Call, Door, Library, joined, parted, words
from selfattention.dialects.libraries.jax_arrays import array


def _layer(asked: Asked) -> Call:
    import haiku
    import jax

    h = 1 if asked.as_it_lies else asked.Q.shape[1]
    d = asked.Q.shape[-1]
    fresh = asked.wants in ("start", "storage")

    def forward(query, key, value, mask=None):
        start = haiku.initializers.VarianceScaling(1.0)
        return haiku.MultiHeadAttention(h, d, w_init=start, with_bias=False)(query, key, value, mask=mask)

    transformed = haiku.without_apply_rng(haiku.transform(forward))
    turned = (lambda X: X) if asked.as_it_lies else joined
    names = zip(("query", "key", "value"), (asked.Q, asked.K, asked.V), strict=True)
    given = {name: array(turned(X)) for name, X in names}
    parameters = transformed.init(jax.random.key(0), *3 * [np.ones((1, 1, h * d), asked.Q.dtype)])
    if fresh:
        return _fresh(parameters, h * d, asked)
    eye = array(np.eye(h * d, dtype=asked.Q.dtype))
    parameters = jax.tree.map(lambda W: eye, parameters)
    mask = asked.mask if asked.literal is None else asked.literal

    def function(query, key, value, mask=None):
        return transformed.apply(parameters, query, key, value, mask)

    def read(O):
        return np.asarray(O) if asked.as_it_lies else parted(np.asarray(O), h)

    return Call(function, "hk.MultiHeadAttention(…)", given, {"mask": array(mask)}, read)


def _fresh(parameters, width, asked):
    stored = next(np.asarray(part["w"]) for name, part in parameters.items() if name.endswith("query"))
    eye = np.eye(width, dtype=np.float32)

    def function(*_):
        import haiku

        layer = haiku.without_apply_rng(haiku.transform(lambda X: haiku.Linear(width, with_bias=False)(X)))
        both = stored, np.asarray(layer.apply({"linear": {"w": array(stored)}}, array(eye)))
        return stored if asked.wants == "start" else both

    shown = {"8": 8, "32": 32, "w_init=VarianceScaling(1.0)": None}
    return Call(function, "hk.MultiHeadAttention", shown, {}, lambda answered: answered)


LIBRARY = Library(
    title="Haiku",
    packages=("dm-haiku==0.0.17", "jax==0.10.2", "numpy==2.4.6"),
    doors=(
        Door(
            "MultiHeadAttention",
            _layer,
            words("mask, padding, literal, 3 axes, mask of fewer axes, start, storage"),
        ),
    ),
    reports=("dm-haiku", "jax"),
    settings={"JAX_PLATFORMS": "cpu"},
    module="haiku",
)
