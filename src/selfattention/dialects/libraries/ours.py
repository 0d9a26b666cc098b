"""This package: every implementation that runs on a processor keeps one contract."""

import numpy as np

from selfattention import masks
from selfattention.dialects.asking import Asked, Call, Door, Library, Written, words
from selfattention.implementations import IMPLEMENTATIONS

TAKES = words(
    "mask, padding, bias, mask and bias, literal, causal, scale, window, past, 4 axes, 3 axes, d_v,"
    "softcap, sink, grouped, learning,"
    "mask of fewer axes, log-sum-exp, gradients"
)


def _mask(asked):
    """The mask's place: a rule, an array as it lies, or nothing."""
    if asked.literal is not None:
        return asked.literal
    if asked.mask is not None and not asked.causal:
        return asked.mask
    rules = []
    if asked.causal and asked.past:
        n, m = asked.Q.shape[2], asked.K.shape[2]
        rules += [Written(masks.bottom_right(masks.causal, n, m), "bottom_right(causal, n, m)")]
    elif asked.causal:
        rules += [Written(masks.causal, "causal")]
    if asked.window is not None:
        rules += [Written(masks.window(asked.window), f"window({asked.window})")]
    if asked.mask is not None:
        n, m = asked.Q.shape[2], asked.K.shape[2]
        mask = np.broadcast_to(asked.mask, (*asked.mask.shape[:2], n, m))
        rules += [Written(masks.Table(mask), "Table(mask)")]
    if not rules:
        return None
    both = rules[0].value if len(rules) == 1 else rules[0].value & rules[1].value
    return Written(both, " & ".join(rule.text for rule in rules))


def door(implementation):
    """One of `IMPLEMENTATIONS`, as it is asked."""

    def call(asked: Asked) -> Call:
        to, back = _arrays(implementation.library)
        loaded = implementation.load()
        operands = {letter: to(getattr(asked, letter)) for letter in "QKV"}
        mask = _mask(asked)
        mask = mask if mask is None or isinstance(mask, Written) else to(mask)
        bias, sink = (X if X is None else to(X) for X in (asked.bias, asked.sink))
        options = {"mask": mask, "bias": bias, "scale": asked.scale, "softcap": asked.softcap, "sink": sink}
        if asked.learning and implementation.library == "torch":
            operands = {letter: X.requires_grad_() for letter, X in operands.items()}

        def read(answer):
            O, L = answer
            if asked.wants == "gradients":
                said = {
                    name: value.value if isinstance(value, Written) else value
                    for name, value in options.items()
                }
                return [*map(back, loaded.attention_backward(to(asked.dO), *operands.values(), O, L, **said))]
            return back(L if asked.wants == "log-sum-exp" else O)

        return Call(loaded.attention, "attention", operands, options, read)

    return Door(implementation.name, call, TAKES)


def _arrays(library):
    """What makes the library's arrays of NumPy's, and what makes those again."""
    if library == "numpy":
        return np.asarray, np.asarray
    import torch

    return torch.from_numpy, lambda X: X.detach().numpy()


# Matrix tiles few processors have: on any other machine nobody could ask them again.
EVERYWHERE = [
    known for name, known in IMPLEMENTATIONS.items() if known.device == "cpu" and name != "matrix_tiled"
]
LIBRARY = Library(
    title="this package",
    packages=(),
    doors=tuple(door(known) for known in EVERYWHERE),
    reports=("numpy", "torch"),
    settings={"TRITON_INTERPRET": "1"},
)
