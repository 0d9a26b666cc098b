"""How an implementation introduces itself: the signature that can be called, and what `help` says."""

import inspect
from typing import NamedTuple


class Maker(NamedTuple):
    """The implementation that a function belongs to: its name, and the library that it computes with."""

    name: str
    library: str


def maker_of(function):
    """Torch is what computes wherever its file imports torch."""
    library = "torch" if "torch" in function.__globals__ else "numpy"
    return Maker(function.__module__.rpartition(".")[2], library)


def introduced(wrapper, function, explained):
    """The wrapper under the function's name: with the signature that can be called, and all it takes."""
    for attribute in ("__name__", "__qualname__", "__module__"):
        setattr(wrapper, attribute, getattr(function, attribute))
    if function.__doc__ is not None:  # python -OO leaves none
        library = maker_of(function).library
        call = explained.format(module=function.__module__, **_WORDS[library])
        wrapper.__doc__ = f"{inspect.cleandoc(function.__doc__)}\n\n{call}"
    return wrapper


_ARGUMENTS = """\
Q (…, h, n, d_k), K (…, g, m, d_k) and V (…, g, m, d_v) are {arrays} of one dtype: floats of
16, 32 or 64 bits. g divides h: heads may share keys. `mask` is a rule of `selfattention.masks` or a
boolean array (…, h, n, m), True = may see; `bias` is added to the scaled scores, and `scale` is
d_k**-0.5 where it is not given. `softcap` C makes C tanh(s / C) of every scaled score s, before the bias;
`sink` (h,) is the score of one key more, of value 0.
"""

FORWARD = (
    _ARGUMENTS
    + """
Gives O (…, h, n, d_v), in the dtype of Q, and L (…, h, n). A row that may see nothing has 0 in O and
−∞ in L; one that may see what is not finite has NaN in both.
Raises TypeError or ValueError, naming the argument that does not fit.

>>> import {import_}
>>> from {module} import attention
>>> from selfattention.masks import causal
>>> Q, K, V = {draw}  # 2 heads, 5 tokens, width 4
>>> O, L = attention(Q, K, V, mask=causal)
>>> tuple(O.shape), tuple(L.shape)
((2, 5, 4), (2, 5))
>>> bool({short}.allclose(O[:, 0], V[:, 0]))  # the first query sees the first key alone
True
"""
)

BACKWARD = (
    _ARGUMENTS
    + """
O and L are what `attention` has given for them, dO (…, h, n, d_v) the gradient of a loss by O. Gives
its gradients by Q, K and V, in their shapes and dtype.
Raises TypeError or ValueError, naming the argument that does not fit.

>>> import {import_}
>>> from {module} import attention, attention_backward
>>> Q, K, V = {draw}  # 2 heads, 5 tokens, width 4
>>> O, L = attention(Q, K, V)
>>> dQ, dK, dV = attention_backward({short}.ones_like(O), Q, K, V, O, L)
>>> bool({short}.allclose(dV.sum(-2), 5 * {short}.ones_like(dV[:, 0])))  # weights of five rows
True
"""
)

STEPS = """\
K (layers, …, g, c, d_k) and V (layers, …, g, c, d_v) are {arrays}, floats of 16, 32 or 64 bits: a
cache with places for c keys in every layer. `mask` is a rule of `selfattention.masks`, asked as if the
last query stood beside the last key; `scale` is d_k**-0.5 where it is not given, `softcap` as for
`attention`, and `sink` (layers, h).

Gives a list with a function for every layer: attend(Q, length), with Q (…, h, n, d_k) for the last n of the
first `length` keys, gives O (…, h, n, d_v) and L (…, h, n), as `attention` does.
Raises TypeError or ValueError, naming the argument that does not fit.

>>> import {import_}
>>> from {module} import attention, steps
>>> Q, K, V = {draw}  # 2 heads, 5 tokens, width 4
>>> (attend,) = steps(K[None], V[None])  # one layer, its cache full
>>> O, L = attend(Q[:, 3:4], 4)  # the fourth token, when there were four
>>> bool({short}.allclose(O, attention(Q[:, 3:4], K[:, :4], V[:, :4])[0]))
True
"""

_WORDS = {
    "numpy": {
        "arrays": "NumPy arrays",
        "import_": "numpy as np",
        "short": "np",
        "draw": "np.random.default_rng(0).normal(size=(3, 2, 5, 4)).astype(np.float32)",
    },
    "torch": {
        "arrays": "torch tensors",
        "import_": "torch",
        "short": "torch",
        "draw": "torch.randn(3, 2, 5, 4)",
    },
}
