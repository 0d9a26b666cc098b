"""Equinox: the layer, which takes one sample at a time, (n, d_model)."""

import numpy as np

from selfattention.dialects.asking import Asked, Call, Door, Library, joined, parted, words
from selfattention.dialects.libraries.jax_arrays import array


def _layer(asked: Asked) -> Call:
    import equinox as eqx
    import jax

    b, h, _, d = asked.Q.shape
    width = h * d
    layer = eqx.nn.MultiheadAttention(
        h, width, dropout_p=asked.dropout, dtype=asked.Q.dtype, key=jax.random.key(0)
    )
    if asked.wants in ("start", "storage"):
        return _fresh(layer, width, asked)
    eye = array(np.eye(width, dtype=asked.Q.dtype))
    parts = ("query_proj", "key_proj", "value_proj", "output_proj")
    layer = eqx.tree_at(lambda tree: [getattr(tree, part).weight for part in parts], layer, [eye] * 4)
    given = [array(joined(X)) for X in (asked.Q, asked.K, asked.V)]
    mask = _mask(asked)

    def one(query, key, value, mask=mask):
        return layer(query, key, value, mask=mask)

    if b == 1:
        names = ("query", "key", "value")
        return Call(
            layer,
            "eqx.nn.MultiheadAttention(…)",
            dict(zip(names, (X[0] for X in given), strict=True)),
            {"mask": mask if mask is None or mask.ndim < 3 or mask.shape[0] > 1 else mask[0]},
            lambda O: parted(np.asarray(O)[None], h),
        )
    together = dict(zip(("query", "key", "value"), given, strict=True)) | {"mask": mask}
    return Call(
        jax.vmap(one),
        "jax.vmap(eqx.nn.MultiheadAttention(…))",
        together,
        {},
        lambda O: parted(np.asarray(O), h),
    )


def _mask(asked):
    """(n, m), or one for each sample (b, n, m)."""
    mask = asked.mask if asked.literal is None else asked.literal
    if mask is None:
        return None
    if mask.ndim == 4:
        mask = np.broadcast_to(mask[:, 0], (mask.shape[0], asked.Q.shape[2], asked.K.shape[2]))
    return array(mask)


def _fresh(layer, width, asked):
    import jax

    stored = np.asarray(layer.query_proj.weight)
    applied = np.asarray(jax.vmap(layer.query_proj)(array(np.eye(width, dtype=np.float32))))
    both = (stored, applied)
    shown = {"8": 8, "256": 256, "key=jax.random.key(0)": None}
    return Call(
        lambda *_: stored if asked.wants == "start" else both,
        "eqx.nn.MultiheadAttention",
        shown,
        {},
        lambda answered: answered,
    )


LIBRARY = Library(
    title="Equinox",
    packages=("equinox==0.13.8", "jax==0.10.2", "numpy==2.4.6"),
    doors=(Door("MultiheadAttention", _layer, words("mask, padding, literal, dropout, start, storage")),),
    reports=("equinox", "jax"),
    settings={"JAX_PLATFORMS": "cpu"},
    module="equinox",
)
