"""One function per labelled equation of the book, in reading order; NumPy, any leading shape."""

from selfattention.formulas.context import weighted_sum
from selfattention.formulas.formula import attention, self_attention
from selfattention.formulas.heads import (
    attention_flops,
    concat_heads,
    multi_head_attention,
    multi_head_parameters,
    split_heads,
)
from selfattention.formulas.output import output_projection
from selfattention.formulas.projections import projections
from selfattention.formulas.scaling import effective_keys, entropy, scaled_scores
from selfattention.formulas.scores import dot_scores
from selfattention.formulas.softmax import log_sum_exp, softmax, softmax_jacobian

__all__ = [
    "attention",
    "attention_flops",
    "concat_heads",
    "dot_scores",
    "effective_keys",
    "entropy",
    "log_sum_exp",
    "multi_head_attention",
    "multi_head_parameters",
    "output_projection",
    "projections",
    "scaled_scores",
    "self_attention",
    "softmax",
    "softmax_jacobian",
    "split_heads",
    "weighted_sum",
]
