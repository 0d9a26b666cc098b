"""The questions, in the order of a reader's surprise; every module holds those about one matter."""

from selfattention.dialects.questions import (
    caps,
    causal,
    empty_rows,
    halves,
    heads,
    mask_types,
    not_a_number,
    returned,
    scales,
    sizes,
)
from selfattention.dialects.questions.question import Question

MODULES = empty_rows, causal, mask_types, heads, not_a_number, scales, caps, sizes, halves, returned
QUESTIONS: dict[str, Question] = {q.name: q for module in MODULES for q in module.QUESTIONS}
