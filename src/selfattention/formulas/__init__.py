"""One function per labelled equation of the book, in reading order; NumPy, any leading shape."""

from selfattention.formulas.context import weighted_sum
from selfattention.formulas.decoding import cache_bytes, rms_norm, silu, step, swiglu
from selfattention.formulas.formula import attention, self_attention
from selfattention.formulas.gradients import (
    attention_backward,
    central_difference,
    group_sum,
    product_backward,
    query_derivative,
    self_attention_backward,
    softmax_backward,
    weighted_covariance,
)
from selfattention.formulas.heads import (
    attention_flops,
    concat_heads,
    head_for_weights,
    multi_head_attention,
    multi_head_parameters,
    split_heads,
    transformer_parameters,
)
from selfattention.formulas.kernels import arithmetic_intensity, compulsory_traffic, roofline
from selfattention.formulas.masks import masked_attention, masked_scores
from selfattention.formulas.mutants import greedy_suite, mutation_score
from selfattention.formulas.output import output_projection
from selfattention.formulas.positions import (
    alibi,
    alibi_slopes,
    frequencies,
    rotary,
    rotary_halves,
    rotation,
    sinusoids,
)
from selfattention.formulas.projections import append_ones, projections
from selfattention.formulas.scaling import effective_keys, entropy, scaled_scores, score_variance
from selfattention.formulas.scores import (
    additive_scores,
    bilinear_scores,
    cosine_scores,
    dot_scores,
    gaussian_scores,
    leave_one_out,
    nadaraya_watson,
)
from selfattention.formulas.softmax import log_sum_exp, softmax, softmax_jacobian
from selfattention.formulas.tiles import (
    direct_traffic,
    finish_state,
    merge_states,
    rows_that_fit,
    tile_backward,
    tile_state,
    tiled_traffic,
)
from selfattention.formulas.trained import (
    attend_by_head,
    encoder,
    encoder_layer,
    feed_forward,
    gelu,
    layer_norm,
    token_scores,
)

__all__ = [
    "additive_scores",
    "alibi",
    "alibi_slopes",
    "append_ones",
    "arithmetic_intensity",
    "attend_by_head",
    "attention",
    "attention_backward",
    "attention_flops",
    "bilinear_scores",
    "cache_bytes",
    "central_difference",
    "compulsory_traffic",
    "concat_heads",
    "cosine_scores",
    "direct_traffic",
    "dot_scores",
    "effective_keys",
    "encoder",
    "encoder_layer",
    "entropy",
    "feed_forward",
    "finish_state",
    "frequencies",
    "gaussian_scores",
    "gelu",
    "greedy_suite",
    "group_sum",
    "head_for_weights",
    "layer_norm",
    "leave_one_out",
    "log_sum_exp",
    "masked_attention",
    "masked_scores",
    "merge_states",
    "multi_head_attention",
    "multi_head_parameters",
    "mutation_score",
    "nadaraya_watson",
    "output_projection",
    "product_backward",
    "projections",
    "query_derivative",
    "rms_norm",
    "roofline",
    "rotary",
    "rotary_halves",
    "rotation",
    "rows_that_fit",
    "scaled_scores",
    "score_variance",
    "self_attention",
    "self_attention_backward",
    "silu",
    "sinusoids",
    "softmax",
    "softmax_backward",
    "softmax_jacobian",
    "split_heads",
    "step",
    "swiglu",
    "tile_backward",
    "tile_state",
    "tiled_traffic",
    "token_scores",
    "transformer_parameters",
    "weighted_covariance",
    "weighted_sum",
]
