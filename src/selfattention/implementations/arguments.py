"""What an implementation is handed: arrays of NumPy or torch, taken rightly or refused by name.

The same few questions for both libraries; torch is never imported here, whoever brings a tensor has.
"""

import math
import sys
from contextlib import nullcontext
from functools import cache

import numpy as np


def taken(maker, **arrays):
    """The arrays as they are computed with, or an error that names one of them.

    Plain arrays of NumPy in this machine's byte order, or dense tensors; Q, K and V of one dtype.
    """
    if maker.library == "numpy" and _as_wanted(*arrays.values()):
        return arrays.values()
    for name, array in arrays.items():
        check_library(name, array, maker)
        check_kind(name, array, "f", "floats: float16, bfloat16, float32 or float64")
        if is_tensor(array) and array.device != arrays["Q"].device:
            raise ValueError(f"{name} is on {array.device}; wanted the device of Q, {arrays['Q'].device}")
        if is_tensor(array) and array.is_meta:
            raise ValueError(f"{name} is on meta, where there are shapes and no numbers; wanted numbers")
    Q, K, V, *rest = map(plain, arrays.values())
    for name, array in ("K", K), ("V", V):
        if array.dtype != Q.dtype:
            raise TypeError(f"{name} has dtype {array.dtype}; wanted that of Q, {Q.dtype}")
    return Q, K, V, *rest


_FLOATS = frozenset(map(np.dtype, ("f2", "f4", "f8")))


def _as_wanted(first, *others):
    """Is there nothing to ask one by one? In a small call questions take longer than the answer."""
    return (
        type(first) is np.ndarray
        and first.dtype in _FLOATS
        and first.flags.aligned
        and all(type(X) is np.ndarray and X.dtype is first.dtype and X.flags.aligned for X in others)
    )


def check_library(name, array, maker):
    """A NumPy array or a torch tensor, whichever the implementation computes with."""
    check_type(name, array, CURES[maker.library])
    if is_tensor(array) and maker.library == "numpy":
        whole = array.requires_grad or array.device.type != "cpu"
        cure = f"{name}.numpy(force=True)" if whole else f"{name}.numpy()"
        raise TypeError(f"{name} is a torch Tensor, and {maker.name} computes with NumPy: {cure}")
    if not is_tensor(array) and maker.library == "torch":
        cure = f"torch.from_numpy({name})"
        raise TypeError(f"{name} is a NumPy array, and {maker.name} computes with torch: {cure}")


CURES = {"numpy": "a NumPy array: np.asarray({})", "torch": "a torch tensor: torch.as_tensor({})"}


def check_type(name, array, wanted):
    """Not a list, and none of the arrays that mean something else by their numbers."""
    wanted = wanted.format(name)
    if is_tensor(array):
        if sys.modules["torch"]._C._functorch.is_functorch_wrapped_tensor(array):
            raise TypeError(
                f"{name} is inside of torch.func: leading axes do what vmap does, and autograd is taken"
            )
        dense = array.layout is sys.modules["torch"].strided and not array.is_nested
        if not dense or type(array).__name__ == "MaskedTensor":
            kind = "nested" if array.is_nested else str(array.layout).removeprefix("torch.")
            raise TypeError(
                f"{name} is a {type(array).__name__} ({kind}); wanted a dense one: {name}.to_dense()"
            )
    elif isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array; wanted {name}.filled(…), and what is masked in mask")
    elif type(array) not in (np.ndarray, np.memmap):
        raise TypeError(f"{name} is a {type(array).__name__}; wanted {wanted}")


def check_kind(name, array, kind, wanted):
    if kind_of(array.dtype) != kind:
        raise TypeError(f"{name} has dtype {array.dtype}; wanted {wanted}")


def checked_beside(name, array, Q, wanted):
    """A mask or a bias: NumPy's beside arrays of either library, torch's beside tensors."""
    check_type(name, array, f"a rule or an array of {wanted}" if name == "mask" else f"an array of {wanted}")
    check_kind(name, array, "b" if name == "mask" else "f", wanted)
    if is_tensor(array) and not is_tensor(Q):
        raise TypeError(f"{name} is a torch Tensor beside a NumPy array Q: {name}.numpy(force=True)")
    return plain(array)


def plain(array):
    """Of NumPy's own type, on whole addresses, in this machine's byte order; no negation put off."""
    if is_tensor(array):
        return array.resolve_neg()
    return np.require(np.asarray(array), array.dtype.newbyteorder("="), "A")


def is_tensor(array):
    if isinstance(array, np.ndarray):
        return False
    torch = sys.modules.get("torch")  # whoever brings a tensor has loaded it
    return torch is not None and isinstance(array, torch.Tensor)


def library_of(array):
    return np if isinstance(array, np.ndarray) else sys.modules["torch"]


def learns(*arrays):
    """Does autograd keep one of them for its way back?"""
    tensors = [array for array in arrays if is_tensor(array)]
    return bool(tensors) and sys.modules["torch"].is_grad_enabled() and any(X.requires_grad for X in tensors)


def detached(array):
    return array if isinstance(array, np.ndarray) else array.detach()


def beside(Q, array):
    """What a rule has answered, of the library and on the device of Q: most answer in NumPy's arrays."""
    return array if isinstance(Q, np.ndarray) else sys.modules["torch"].as_tensor(array, device=Q.device)


def truth(*answers):
    """Booleans of either library as Python's; from a GPU all at once."""
    if isinstance(answers[0], np.bool):
        return map(bool, answers)
    return sys.modules["torch"].stack(answers).tolist()


def norm(X):
    """No row of X has a larger norm. Not a finite number where something in X is none."""
    if isinstance(X, np.ndarray):
        return math.sqrt(np.vdot(X, X))
    if X.numel() == 0:
        return 0.0
    lowest, highest = sys.modules["torch"].stack(X.detach().aminmax()).tolist()
    return math.sqrt(X.shape[-1]) * max(-lowest, highest)


def in_its_own_dtype(Q):
    """Autocast would compute products in bfloat16, and of one pass only, if the other runs outside of it."""
    if isinstance(Q, np.ndarray):
        return nullcontext()
    torch, device = sys.modules["torch"], Q.device.type
    available = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if available else nullcontext()


def check_axes(Q, K, V):
    for name, array, axes in ("Q", Q, "h, n, d_k"), ("K", K, "g, m, d_k"), ("V", V, "g, m, d_v"):
        if array.ndim < 2 or array.ndim != Q.ndim or array.shape[:-3] != Q.shape[:-3]:
            raise ValueError(
                f"{name} has shape {tuple(array.shape)}; wanted (…, {axes}), … as in Q {tuple(Q.shape)}"
            )
    if K.shape[-1] != Q.shape[-1]:
        raise ValueError(f"K has width {K.shape[-1]}; wanted that of Q, {Q.shape[-1]}")
    if V.shape[:-1] != K.shape[:-1]:
        raise ValueError(
            f"V has shape {tuple(V.shape)}; wanted the groups and keys of K, {tuple(K.shape[:-1])}"
        )
    h, g = (1, *Q.shape)[-3], (1, *K.shape)[-3]
    if g == 0 or h % g:
        raise ValueError(f"K has {g} heads; wanted a divisor of the {h} heads of Q")


def check_answers(Q, V, dO, O, L):
    """Kernels read by strides: of an array that is too small they would read what lies behind it."""
    rows = tuple(Q.shape[:-1])
    wide = *rows, V.shape[-1]
    for name, array, shape in ("dO", dO, wide), ("O", O, wide), ("L", L, rows):
        if tuple(array.shape) != shape:
            raise ValueError(f"{name} has shape {tuple(array.shape)}; wanted {shape}")


def usual_scale(d_k):
    if d_k == 0:
        raise ValueError("Q has width 0, and 0**-0.5 is no scale; wanted a width of 1 or more, or a scale")
    return d_k**-0.5


def is_finite(number):
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number that no float holds
        return False


@cache  # a name is put together anew whenever it is asked for
def kind_of(dtype):
    """'f' for floats that can be computed with and 'b' for booleans, of either library."""
    name = dtype.name if isinstance(dtype, np.dtype) else str(dtype).removeprefix("torch.")
    floats = ("float16", "bfloat16", "float32", "float64")
    return "f" if name in floats else "b" if name == "bool" else "other"


@cache
def accumulator(dtype, xp):
    return xp.float32 if str(dtype).removeprefix("torch.") in ("float16", "bfloat16") else dtype


def unchanged(dtype, xp):
    return dtype


def cast(array, dtype):
    return (
        array
        if array.dtype == dtype
        else array.astype(dtype)
        if isinstance(array, np.ndarray)
        else array.to(dtype)
    )
