"""The questions, in the order of a reader's surprise; every module holds those about one matter.

`GROUPS` maps the matter to the names of its questions.
"""

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
GROUPS: dict[str, tuple[str, ...]] = {
    module.__name__.rpartition(".")[2].replace("_", " "): tuple(q.name for q in module.QUESTIONS)
    for module in MODULES
}
QUESTIONS: dict[str, Question] = {q.name: q for module in MODULES for q in module.QUESTIONS}
