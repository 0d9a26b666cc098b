"""One example call per formula, for what all formulas must do: see test_all_formulas.py.

Axes are distinct primes. `data` are the arguments that may carry leading axes together; the
others are weights and plain numbers, the same for a whole batch.
"""

from dataclasses import dataclass, field

from selfattention import formulas


@dataclass(frozen=True)
class Example:
    function: str
    data: dict[str, tuple[int, ...]]  # argument -> its shape, without leading axes
    weights: dict[str, tuple[int, ...]] = field(default_factory=dict)
    numbers: dict[str, object] = field(default_factory=dict)

    def arguments(self, rng, dtype, leading=()):
        """Random arguments; read-only, so that a function that changes one is found out."""
        data = {name: rng.uniform(0.1, 1, size=(*leading, *shape)) for name, shape in self.data.items()}
        weights = {name: rng.uniform(-1, 1, size=shape) for name, shape in self.weights.items()}
        arrays = {name: array.astype(dtype) for name, array in (data | weights).items()}
        for array in arrays.values():
            array.flags.writeable = False
        return arrays | self.numbers

    def __call__(self, arguments):
        return getattr(formulas, self.function)(**arguments)


QKV = {"Q": (5, 3), "K": (7, 3), "V": (7, 11)}
PROJECTIONS = {"W_Q": (13, 3), "W_K": (17, 3), "W_V": (17, 11)}
SEQUENCES = {"X": (5, 13), "memory": (7, 17)}
HEADS = {"W_Q": (13, 6), "W_K": (17, 6), "W_V": (17, 22), "W_O": (22, 13)}

EXAMPLES = [
    Example("attention", QKV),
    Example("self_attention", SEQUENCES, PROJECTIONS | {"W_O": (11, 13)}),
    Example("projections", SEQUENCES, PROJECTIONS),
    Example("append_ones", {"X": (5, 13)}),
    Example("dot_scores", {"Q": (5, 3), "K": (7, 3)}),
    Example("cosine_scores", {"Q": (5, 3), "K": (7, 3)}),
    Example("bilinear_scores", {"Q": (5, 3), "K": (7, 11)}, {"W": (3, 11)}),
    Example("additive_scores", {"Q": (5, 3), "K": (7, 11)}, {"W_1": (3, 13), "W_2": (11, 13), "w": (13,)}),
    Example("gaussian_scores", {"Q": (5, 3), "K": (7, 3)}, numbers={"tau": 1.5}),
    Example("nadaraya_watson", QKV, numbers={"tau": 1.5}),
    Example("leave_one_out", {"K": (7, 3), "V": (7, 11)}, numbers={"tau": 1.5}),
    Example("scaled_scores", {"Q": (5, 3), "K": (7, 3)}),
    Example("entropy", {"A": (7,)}),
    Example("effective_keys", {"A": (7,)}),
    Example("softmax", {"S": (5, 7)}),
    Example("log_sum_exp", {"S": (5, 7)}),
    Example("softmax_jacobian", {"A": (7,)}),
    Example("weighted_sum", {"A": (5, 7), "V": (7, 11)}),
    Example("output_projection", {"O": (5, 11)}, {"W_O": (11, 13)}),
    Example("split_heads", {"Q": (5, 22)}, numbers={"h": 2}),
    Example("concat_heads", {"H": (2, 5, 11)}),
    Example("head_for_weights", {"A": (5, 7)}, numbers={"d_k": 2}),
    Example("multi_head_attention", SEQUENCES, HEADS, {"h": 2}),
]

COUNTS = {"attention_flops", "multi_head_parameters", "score_variance", "transformer_parameters"}  # functions of whole numbers
