"""One function per labelled equation of the book, in reading order; NumPy, any leading shape."""

from selfattention.formulas.context import weighted_sum
from selfattention.formulas.formula import attention, self_attention
from selfattention.formulas.heads import (
    attention_flops,
    concat_heads,
    head_for_weights,
    multi_head_attention,
    multi_head_parameters,
    split_heads,
    transformer_parameters,
)
from selfattention.formulas.output import output_projection
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
    "append_ones",
    "attend_by_head",
    "attention",
    "attention_flops",
    "bilinear_scores",
    "concat_heads",
    "cosine_scores",
    "dot_scores",
    "effective_keys",
    "encoder",
    "encoder_layer",
    "entropy",
    "feed_forward",
    "gaussian_scores",
    "gelu",
    "head_for_weights",
    "layer_norm",
    "leave_one_out",
    "log_sum_exp",
    "multi_head_attention",
    "multi_head_parameters",
    "nadaraya_watson",
    "output_projection",
    "projections",
    "scaled_scores",
    "score_variance",
    "self_attention",
    "softmax",
    "softmax_jacobian",
    "split_heads",
    "token_scores",
    "transformer_parameters",
    "weighted_sum",
]
