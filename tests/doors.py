"""`python -I -S doors.py FOLDER`: what the package in FOLDER does where NumPy and jaxtyping are all it has.

Prints, as JSON, for every module "" or the error of its import; and what a few calls give.
"""

import json
import sys
from importlib import import_module
from pathlib import Path

sys.path.append(sys.argv[1])

import numpy as np  # from FOLDER, as all below

FOLDER = Path(sys.argv[1])


def complaint(function, *arguments):
    """What is said instead of an answer; nothing where there is one."""
    try:
        function(*arguments)
    except ImportError as error:
        return str(error)
    return ""


def modules():
    for path in sorted((FOLDER / "selfattention").rglob("*.py")):
        yield ".".join(path.relative_to(FOLDER).with_suffix("").parts).removesuffix(".__init__")


def weights_of_an_implementation(name):
    from selfattention.implementations import IMPLEMENTATIONS
    from selfattention.masks import causal

    Q = K = V = np.eye(3)
    module = IMPLEMENTATIONS[name].load()
    O, L = module.attention(Q, K, V, mask=causal)
    return module.attention_backward(O, Q, K, V, O, L, mask=causal)[0].tolist()


def calls():
    from selfattention import check, formulas
    from selfattention.implementations import IMPLEMENTATIONS
    from selfattention.mutants.kill_matrix import kill_matrix
    from selfattention.mutants.prices import PRICES
    from selfattention.trained import reactions, rxnmapper
    from selfattention.trained.tokenizer import Tokenizer

    letters = {"model": "gpt2", "pre": "smollm", "tokens": ["a"], "token_type": [1], "merges": []}
    names = ["numpy_direct", "numpy_tiled"]
    first, second = map(weights_of_an_implementation, names)
    return {
        "formula": formulas.attention(np.eye(2), np.eye(2), np.eye(2)).sum(),
        "implementations": np.abs(np.subtract(first, second)).max(),
        "check": str(check.two_key_weight(check.two_key_weight.solution)),
        "killed": bool(kill_matrix("softmax").any(1).all()),
        "vocabulary": len(rxnmapper.load().vocabulary),
        "reactions": len(reactions.load()),
        "prices": PRICES.is_file(),
        "why not": {name: i.why_not() for name, i in IMPLEMENTATIONS.items()},
        "loaded": {name: complaint(i.load) for name, i in IMPLEMENTATIONS.items()},
        "words": complaint(Tokenizer(letters).encode, "a"),
        "late": complaint(kill_matrix, "attention_backward"),
    }


print(json.dumps({"modules": {name: complaint(import_module, name) for name in modules()}, "calls": calls()}))
