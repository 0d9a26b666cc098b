"""One example call per formula, for what all formulas must do: see test_all_formulas.py.

Axes are distinct primes. `data` are the arguments that may carry leading axes together; the
others are weights, and what is no array of floats, the same for a whole batch.
"""

from dataclasses import dataclass, field

import numpy as np

from selfattention import formulas


@dataclass(frozen=True)
class Example:
    function: str
    data: dict[str, tuple[int, ...]]  # argument -> its shape, without leading axes
    weights: dict[str, tuple[int, ...]] = field(default_factory=dict)
    others: dict[str, object] = field(default_factory=dict)

    def arguments(self, rng, dtype, leading=()):
        """Random arguments; read-only, so that a function that changes one is found out."""
        data = {name: rng.uniform(0.1, 1, size=(*leading, *shape)) for name, shape in self.data.items()}
        weights = {name: rng.uniform(-1, 1, size=shape) for name, shape in self.weights.items()}
        arrays = {name: array.astype(dtype) for name, array in (data | weights).items()}
        for array in arrays.values():
            array.flags.writeable = False
        return arrays | self.others

    def __call__(self, arguments):
        return getattr(formulas, self.function)(**arguments)


QKV = {"Q": (5, 3), "K": (7, 3), "V": (7, 11)}
PROJECTIONS = {"W_Q": (13, 3), "W_K": (17, 3), "W_V": (17, 11)}
SEQUENCES = {"X": (5, 13), "memory": (7, 17)}
HEADS = {"W_Q": (13, 6), "W_K": (17, 6), "W_V": (17, 22), "W_O": (22, 13)}
NORM_1, NORM_2 = {"g_1": (13,), "b_1": (13,)}, {"g_2": (13,), "b_2": (13,)}
LAYER = {"W_Q": (14, 6), "W_K": (14, 6), "W_V": (14, 22), "W_O": (23, 13), **NORM_1}
LAYER |= {"W_1": (14, 17), "W_2": (18, 13), **NORM_2}
ENCODER = {"g_E": (7,), "b_E": (7,), "W_E": (8, 13), **LAYER}
PREDICTOR = {"T": (11, 7), "W_M": (14, 7), "g_M": (7,), "b_M": (7,), "b_T": (11,)}
BACKWARD = {"W_Q": (13, 3), "W_K": (13, 3), "W_V": (13, 11), "W_O": (11, 13)}
STEP = {"Q": (6, 5, 3), "K": (2, 5, 3), "V": (2, 5, 11), "past_K": (2, 7, 3), "past_V": (2, 7, 11)}
VISIBLE = {"visible": np.tri(5, 7, 3, dtype=bool)}
PLACES = {"positions": np.arange(5)}
MAP = {"F": (7, 4, 6)}  # channels, high, wide; squares of 1, for these are all that divide every size
GRID = {"Q": (2, 3, 4, 6), "K": (2, 3, 4, 6), "V": (2, 5, 4, 6)}  # h, d, high, wide
NET = {"W_1": (7, 5), "W_2": (5, 7)}

EXAMPLES = [
    Example("attention", QKV),
    Example("self_attention", SEQUENCES, PROJECTIONS | {"W_O": (11, 13)}),
    Example("projections", SEQUENCES, PROJECTIONS),
    Example("append_ones", {"X": (5, 13)}),
    Example("dot_scores", {"Q": (5, 3), "K": (7, 3)}),
    Example("cosine_scores", {"Q": (5, 3), "K": (7, 3)}),
    Example("bilinear_scores", {"Q": (5, 3), "K": (7, 11)}, {"W": (3, 11)}),
    Example("additive_scores", {"Q": (5, 3), "K": (7, 11)}, {"W_1": (3, 13), "W_2": (11, 13), "w": (13,)}),
    Example("gaussian_scores", {"Q": (5, 3), "K": (7, 3)}, others={"tau": 1.5}),
    Example("nadaraya_watson", QKV, others={"tau": 1.5}),
    Example("leave_one_out", {"K": (7, 3), "V": (7, 11)}, others={"tau": 1.5}),
    Example("scaled_scores", {"Q": (5, 3), "K": (7, 3)}),
    Example("softcap", {"S": (5, 7)}, others={"C": 1.5}),
    Example("entropy", {"A": (7,)}),
    Example("effective_keys", {"A": (7,)}),
    Example("softmax", {"S": (5, 7)}),
    Example("log_sum_exp", {"S": (5, 7)}),
    Example("softmax_jacobian", {"A": (7,)}),
    Example("weighted_sum", {"A": (5, 7), "V": (7, 11)}),
    Example("output_projection", {"O": (5, 11)}, {"W_O": (11, 13)}),
    Example("split_heads", {"Q": (5, 22)}, others={"h": 2}),
    Example("concat_heads", {"H": (2, 5, 11)}),
    Example("head_for_weights", {"A": (5, 7)}, others={"d_k": 2}),
    Example("multi_head_attention", SEQUENCES, HEADS, {"h": 2}),
    Example("layer_norm", {"X": (5, 13)}, {"g": (13,), "b": (13,)}),
    Example("gelu", {"X": (5, 3)}),
    Example("feed_forward", {"X": (5, 13)}, {"W_1": (14, 17), "W_2": (18, 13)}),
    Example("attend_by_head", {"Q": (5, 6), "K": (7, 6), "V": (7, 22)}, others={"h": 2}),
    Example("encoder_layer", {"X": (5, 13)}, LAYER, {"h": 2}),
    Example("encoder", {"E": (5, 7)}, ENCODER, {"h": 2, "depth": 3}),
    Example("token_scores", {"X": (5, 13)}, PREDICTOR),
    Example("masked_scores", {"S": (5, 7)}, others=VISIBLE),
    Example("masked_attention", QKV, others=VISIBLE),
    Example("rotary", {"Q": (5, 6)}, others=PLACES),
    Example("rotary_halves", {"Q": (5, 6)}, others=PLACES),
    Example("product_backward", {"dM": (5, 3), "B": (5, 11), "C": (11, 3)}),
    Example("weighted_covariance", {"A": (5, 7), "V": (7, 11), "K": (7, 3)}),
    Example("query_derivative", QKV),
    Example("softmax_backward", {"dA": (7,), "A": (7,)}),
    Example("attention_backward", {"dO": (5, 11), **QKV}),
    Example("self_attention_backward", {"dY": (5, 13), "X": (5, 13)}, BACKWARD),
    Example("tile_state", {"S": (5, 7), "V": (7, 11)}),
    Example("merge_states", {f"{x}_{t}": (5, 11) if x == "O" else (5,) for t in "12" for x in "cZO"}),
    Example("finish_state", {"c": (5,), "Z": (5,), "O": (5, 11)}),
    Example("tile_backward", {"S": (5, 7), "V": (7, 11), "dO": (5, 11), "L": (5,), "delta": (5,)}),
    Example("group_sum", {"dK": (6, 7, 3)}, others={"g": 2}),
    Example("rms_norm", {"X": (5, 13)}, {"g": (13,)}),
    Example("silu", {"X": (5, 3)}),
    Example("swiglu", {"X": (5, 13)}, {"W_gate": (13, 17), "W_up": (13, 17), "W_down": (17, 13)}),
    Example("step", STEP),
    Example("rotary_step", STEP | {name: (*STEP[name][:2], 6) for name in ("Q", "K", "past_K")}),
    Example("with_sink", {"O": (5, 11), "L": (5,), "s": (5,)}),
    Example("restored", {"step": (5,)}, others={"z": np.arange(-17, 18).reshape(5, 7)}),
    Example("pieces", {"X": (5, 3)}),
    Example("truncated_pieces", {"X": (5, 3)}),
    Example("six_products", {f"{x}_{p}": (5, 3) if x == "A" else (3, 7) for x in "AB" for p in "012"}),
    Example("without_tiny", {"A": (5, 7)}),
    Example("sigmoid", {"X": (5, 3)}),
    Example("patches", MAP, others={"p": 1}),
    Example("patch_embedding", MAP, {"W_E": (7, 1, 1, 13), "b_E": (13,)}),
    Example("with_class_token", {"X": (5, 13)}, {"x_class": (13,)}),
    Example("vit_tokens", MAP, {"W_E": (7, 1, 1, 13), "b_E": (13,), "x_class": (13,), "P": (25, 13)}),
    Example("squeeze_excitation", MAP, NET),
    Example("eca", MAP, {"w": (3,)}),
    Example("cbam_channels", MAP, NET),
    Example("cbam_positions", MAP, {"W": (2, 3, 3)}),
    Example("cbam", MAP, NET | {"W": (2, 3, 3)}),
    Example("attention_gate", MAP | {"G": (3, 4, 6)}, {"W_F": (7, 5), "W_G": (4, 5), "w": (6,)}),
    Example("selective_kernel", {"F": (2, 7, 4, 6)}, {"W_1": (7, 5), "W_2": (2, 5, 7)}),
    Example("temporal", {"F": (5, 7, 4, 6)}, {"W_1": (5, 11), "W_2": (11, 3)}),
    Example("non_local", MAP, {"W_Q": (7, 3), "W_K": (7, 3), "W_V": (7, 5), "W_O": (5, 7)}),
    Example("window_partition", MAP, others={"M": 1, "shift": 0}),
    Example("window_join", {"X": (2, 3, 4, 7)}, others={"shift": 1}),
    Example("relative_bias", {"T": (9, 3)}),
    Example("window_attention", GRID, {"T": (1, 2)}, {"shift": 0}),
    Example("rollout", {"A": (3, 2, 5, 5)}),
    Example("buried_scores", {"S": (5, 7)}, others=VISIBLE | {"F": 1.5}),
    Example("zeroed_rows", {"O": (5, 11)}, others=VISIBLE),
    Example("cap_after_mask", {"S": (5, 7)}, others=VISIBLE | {"C": 1.5}),
    Example("merged_shares", {"L": (5, 7)}),
]

# Functions of whole numbers, of positions, or of a function: one call each.
TABLE = {"killed": np.array([[True, False], [False, False]])}
WIDTHS = {"n": 2, "m": 3, "d_k": 5, "d_v": 7}
SHARE = {"n": 7, "p": 3, "rank": 0}
HEADS_SHARED = {"n": 7, "n_own": 0, "h": 6, "h_own": 1, "g": 2, "g_own": 1, "d_k": 5, "d_v": 11}
SIZES = {"word_bytes": 4, "sum_bytes": 8}
MACHINE = {"flops_per_second": 100.0, "bytes_per_second": 10.0, "latency": 0.5}
RANK = {"p": 3, "flops": 600.0, "sent_bytes": 40.0} | MACHINE
VIT = {"channels": 3, "depth": 2, "d_model": 6, "d_ff": 5, "classes": 7}
CALLS = {
    "absorbed_below": {"F": 1e9, "digits": 24},
    "added_ones_share": {"kept": 2, "hidden": 3},
    "alibi": {"i": np.array([2]), "j": np.arange(3), "h": 2},
    "alibi_slopes": {"h": 2},
    "all_reduce_bytes": {"words": 7, "p": 3, "word_bytes": 4},
    "all_to_all_backward_bytes": HEADS_SHARED | SIZES,
    "all_to_all_bytes": HEADS_SHARED | SIZES,
    "all_to_all_words": HEADS_SHARED,
    "arithmetic_intensity": {"flops": 60, "words": 31, "word_bytes": 4},
    "attention_flops": WIDTHS,
    "cache_bytes": {"tokens": 3, "layers": 5, "g": 2, "d": 7, "word_bytes": 4},
    "causal_work": {"start": 0, "stop": 5},
    "central_difference": {"f": np.sum, "X": np.ones(2), "step": 0.5},
    "cbam_parameters": {"C": 12, "r": 1, "k": 3},
    "compulsory_traffic": WIDTHS,
    "contiguous_work": SHARE,
    "decode_intensity": {"m": 3, "layers": 5, "h": 6, "g": 2, "d": 7, "word_bytes": 4}
    | {"weights": 11, "b": 13, "n": 17},
    "direct_traffic": WIDTHS,
    "eca_kernel_size": {"C": 64},
    "eca_nearest_odd": {"C": 64},
    "exposed_seconds": RANK,
    "frequencies": {"d": 4, "base": 100.0},
    "greedy_suite": TABLE,
    "group_of_head": {"i": 0, "h": 6, "g": 1},
    "head_parallel_words": {"n": 7, "d_model": 13, "h_own": 3, "g_own": 1, "d_k": 5, "d_v": 11},
    "hiding_tokens": {"h": 6, "g": 2, "d_k": 5, "d_v": 11, "seen": 0.5, "word_bytes": 4} | MACHINE,
    "keys_seen": {"i": 2, "m": 7, "offset": 3},
    "largest_entry": {"largest": 65504.0, "d": 16, "scale": 0.25},
    "latent_cache_bytes": {"tokens": 3, "layers": 5, "d_latent": 7, "d_rope": 2, "word_bytes": 4},
    "most_ranks": {"n": 7, "h": 6, "g": 1},
    "multi_head_parameters": {"d_model": 6, "h": 1, "d_k": 2, "d_v": 3, "bias": True},
    "mutation_score": TABLE,
    "quantised": {"X": np.array([[1.0, -3.0]]), "bits": 4},
    "relative_position_index": {"M": 2},
    "ring_backward_bytes": {"m": 7, "m_next": 0, "m_own": 0, "g": 2, "d_k": 5, "d_v": 11} | SIZES,
    "ring_bytes": {"m": 7, "m_next": 0, "g": 2, "d_k": 5, "d_v": 11, "word_bytes": 4},
    "ring_seconds": RANK | {"overlap": 0.5},
    "ring_words": {"n_own": 2, "m_own": 3, "piece": 1, "h": 6, "g": 2, "d_k": 5, "d_v": 11},
    "roofline": {"intensity": 2.0, "flops_per_second": 10.0, "bytes_per_second": 3.0},
    "rotation": {"k": 3, "d": 4, "base": 100.0},
    "rows_that_fit": {"M": 100, "d_k": 2, "d_v": 3, "w": 1},
    "score_variance": {"d_k": 3, "query_variance": 2.0, "key_variance": 5.0},
    "shard_start": SHARE,
    "shared_rate": {"rate": 100.0, "p": 3, "devices": 2},
    "sinusoids": {"n": 3, "d_model": 4, "base": 100.0},
    "squeeze_excitation_parameters": {"C": 12, "r": 1, "bias": True},
    "step_seconds": {"computing": 3.0, "sending": 2.0, "overlap": 0.5},
    "swin_parameters": {"d": 6, "M": 2, "p": 2, "channels": 3, "classes": 5},
    "tiled_traffic": {**WIDTHS, "r": 2},
    "transfer_seconds": {"messages": 3, "sent_bytes": 40.0, "bytes_per_second": 10.0, "latency": 0.5},
    "transformer_parameters": {"vocabulary": 3, "N": 2, "d_model": 6, "d_ff": 5, "h": 1, "d_k": 2},
    "vit_parameters": VIT | {"image": 12, "p": 1},
    "zigzag_work": SHARE,
}
NOT_OF_FLOATS = set(CALLS)

# The smallest legal value of every whole number that a formula takes.
SHARE_SMALLEST = {"n": 0, "p": 1, "rank": 0}
HEADS_SMALLEST = {"n": 0, "n_own": 0, "h": 1, "h_own": 0, "g": 1, "g_own": 0, "d_k": 1, "d_v": 0}
TOKENS_AND_WIDTHS = {"n": 0, "m": 0, "d_k": 1, "d_v": 0}
SMALLEST = {
    "absorbed_below": {"digits": 1},
    "added_ones_share": {"kept": 1, "hidden": 0},
    "alibi": {"h": 1},
    "alibi_slopes": {"h": 1},
    "all_reduce_bytes": {"words": 0, "p": 1, "word_bytes": 1},
    "all_to_all_backward_bytes": HEADS_SMALLEST | {"word_bytes": 1, "sum_bytes": 1},
    "all_to_all_bytes": HEADS_SMALLEST | {"word_bytes": 1, "sum_bytes": 1},
    "all_to_all_words": HEADS_SMALLEST,
    "arithmetic_intensity": {"word_bytes": 1},
    "attend_by_head": {"h": 1},
    "attention_flops": TOKENS_AND_WIDTHS,
    "cache_bytes": {"tokens": 0, "layers": 0, "g": 1, "d": 1, "word_bytes": 1},
    "cbam_parameters": {"C": 1, "r": 1, "k": 1},
    "causal_work": {"start": 0, "stop": 0},
    "compulsory_traffic": TOKENS_AND_WIDTHS,
    "contiguous_work": SHARE_SMALLEST,
    "decode_intensity": {"m": 0, "layers": 0, "h": 1, "g": 1, "d": 1, "word_bytes": 1}
    | {"weights": 0, "b": 1, "n": 1},
    "direct_traffic": TOKENS_AND_WIDTHS,
    "eca_kernel_size": {"C": 1},
    "eca_nearest_odd": {"C": 1},
    "encoder": {"h": 1, "depth": 1},
    "encoder_layer": {"h": 1},
    "exposed_seconds": {"p": 1},
    "frequencies": {"d": 2},
    "group_of_head": {"i": 0, "h": 1, "g": 1},
    "group_sum": {"g": 1},
    "head_for_weights": {"d_k": 1},
    "head_parallel_words": {"n": 0, "d_model": 1, "h_own": 0, "g_own": 0, "d_k": 1, "d_v": 0},
    "hiding_tokens": {"h": 1, "g": 1, "d_k": 1, "d_v": 0, "word_bytes": 1},
    "keys_seen": {"i": 0, "m": 0, "offset": -(2**53)},
    "largest_entry": {"d": 1},
    "latent_cache_bytes": {"tokens": 0, "layers": 0, "d_latent": 1, "d_rope": 0, "word_bytes": 1},
    "most_ranks": {"n": 0, "h": 1, "g": 1},
    "multi_head_attention": {"h": 1},
    "multi_head_parameters": {"d_model": 1, "h": 1, "d_k": 1, "d_v": 1},
    "quantised": {"bits": 2},
    "patches": {"p": 1},
    "relative_position_index": {"M": 1},
    "ring_backward_bytes": {"m": 0, "m_next": 0, "m_own": 0, "g": 1, "d_k": 1, "d_v": 0}
    | {"word_bytes": 1, "sum_bytes": 1},
    "ring_bytes": {"m": 0, "m_next": 0, "g": 1, "d_k": 1, "d_v": 0, "word_bytes": 1},
    "ring_seconds": {"p": 1},
    "ring_words": {"n_own": 0, "m_own": 0, "piece": 0, "h": 1, "g": 1, "d_k": 1, "d_v": 0},
    "rotation": {"k": -(2**53), "d": 2},
    "rows_that_fit": {"M": 13, "d_k": 1, "d_v": 0, "w": 1},
    "score_variance": {"d_k": 1},
    "shard_start": SHARE_SMALLEST,
    "shared_rate": {"p": 1, "devices": 1},
    "sinusoids": {"n": 0, "d_model": 2},
    "split_heads": {"h": 1},
    "squeeze_excitation_parameters": {"C": 1, "r": 1},
    "swin_parameters": {"d": 1, "M": 1, "p": 1, "channels": 1, "classes": 0},
    "tiled_traffic": {**TOKENS_AND_WIDTHS, "r": 1},
    "transfer_seconds": {"messages": 0},
    "transformer_parameters": {"vocabulary": 0, "N": 0, "d_model": 1, "d_ff": 1, "h": 1, "d_k": 1},
    "vit_parameters": dict.fromkeys(VIT, 1) | {"depth": 0, "classes": 0, "image": 1, "p": 1},
    "window_attention": {"shift": 0},
    "window_join": {"shift": 0},
    "window_partition": {"M": 1, "shift": 0},
    "zigzag_work": SHARE_SMALLEST,
}
