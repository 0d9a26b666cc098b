"""jax-js, JAX for JavaScript, on its processor backend in Node."""

import numpy as np

from selfattention.dialects.asking import Asked, Door, Library, heads_last, words
from selfattention.dialects.libraries.node_process import ScriptCall, packed, run

SCRIPT = """
// Node 20 has no helpers for iterators and sets, which the library uses.
const helpers = (prototype, methods) => {
  for (const [name, value] of Object.entries(methods))
    if (!prototype[name]) Object.defineProperty(prototype, name, {value, configurable: true, writable: true});
};
helpers(Object.getPrototypeOf(Object.getPrototypeOf([][Symbol.iterator]())), {
  map: function* (f) { let i = 0; for (const x of this) yield f(x, i++); },
  filter: function* (f) { let i = 0; for (const x of this) if (f(x, i++)) yield x; },
  toArray() { return [...this]; },
  every(f) { for (const x of this) if (!f(x)) return false; return true; },
  some(f) { for (const x of this) if (f(x)) return true; return false; },
  reduce(f, ...start) { return [...this].reduce(f, ...start); },
  find(f) { for (const x of this) if (f(x)) return x; },
});
helpers(Set.prototype, {
  union(o) { return new Set([...this, ...o]); },
  intersection(o) { return new Set([...this].filter(x => o.has(x))); },
  difference(o) { return new Set([...this].filter(x => !o.has(x))); },
  isSubsetOf(o) { return [...this].every(x => o.has(x)); },
});
const {init, defaultDevice, numpy, nn} = await import('@jax-js/jax');
await init('cpu');
defaultDevice('cpu');
const typed = array => {
  if (!array.data.length) return numpy.zeros(array.dims);
  const flat = array.type === 'bool' ? numbers(array).map(Boolean) : numbers(array);
  const made = numpy.array(flat).reshape(array.dims);
  return array.type.startsWith('int') ? made.astype(numpy.int32) : made;
};
try {
  const options = Object.fromEntries(Object.entries(given.options).map(
    ([name, value]) => [name, value?.dims ? typed(value) : value]));
  const output = nn.dotProductAttention(...given.operands.map(typed), options);
  tell(output.shape, output.js().flat(Infinity));
} catch (error) { thrown(error); }
"""


def _attention(asked: Asked) -> ScriptCall:
    turned = (lambda X: X) if asked.as_it_lies else heads_last
    given = {name: turned(X) for name, X in zip("qkv", (asked.Q, asked.K, asked.V), strict=True)}
    options = {
        "mask": asked.mask if asked.literal is None else asked.literal,
        "bias": asked.bias,
        "isCausal": asked.causal or None,
        "scale": asked.scale,
        "localWindowSize": asked.window,
    }

    def function(*arrays, **options):
        packs = {name: packed(x) if isinstance(x, np.ndarray) else x for name, x in options.items()}
        return run(SCRIPT, {"operands": [packed(X) for X in arrays], "options": packs})

    return ScriptCall(
        function, "nn.dotProductAttention", given, options, lambda O: O if asked.as_it_lies else turned(O)
    )


LIBRARY = Library(
    title="jax-js",
    packages=("numpy==2.4.6",),
    npm=("@jax-js/jax@0.1.25",),
    doors=(
        Door(
            "dotProductAttention",
            _attention,
            words(
                "mask, padding, bias, mask and bias, literal, causal, scale, window, grouped, d_v, 4 axes,"
                "mask of fewer axes"
            )
            - {"half"},
        ),
    ),
    reports=("numpy",),
)
