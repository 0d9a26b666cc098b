"""Recipes of what stands around attention: right, they are the formulas; wrong, they are the mutants."""

from dataclasses import replace

import numpy as np
import pytest

from selfattention import examine, formulas, mutants
from selfattention.examining import cases, elsewhere, kinds
from selfattention.examining.report import Status
from selfattention.recipes.alibi import ALIBI, OF_KEYS, SLOPES
from selfattention.recipes.explain import Engine, Outcome, Weight
from selfattention.recipes.gates import CBAM, SQUEEZE
from selfattention.recipes.merge import MERGE
from selfattention.recipes.recipe import apart
from selfattention.recipes.rotary import HALVES, ROTARY, Rotary
from selfattention.recipes.softmax import SOFTMAX
from selfattention.recipes.step import NEIGHBOURS, ROTARY_STEP, STEP
from selfattention.recipes.tables import TABLE

CACHED = ["Q", "K", "V", "past_K", "past_V"]
KNOWN = [TABLE, ROTARY, SLOPES, ALIBI, OF_KEYS, STEP, MERGE, SQUEEZE, CBAM]

# What a recipe is to give of the inputs that `examine` asks, by which of them.
RIGHT = {
    "a table": (TABLE.recipe, formulas.sinusoids, elsewhere.tables, ["count", "width"]),
    "rotary": (ROTARY.recipe, formulas.rotary, elsewhere.rotations, ["turned", "positions"]),
    "halves": (
        Rotary(pairing=HALVES),
        formulas.rotary_halves,
        elsewhere.rotations,
        ["turned", "positions"],
    ),
    "slopes": (SLOPES.recipe, formulas.alibi_slopes, elsewhere.heads_alone, ["heads"]),
    "a step": (STEP.recipe, formulas.step, elsewhere.steps, CACHED),
    "a rotary step": (ROTARY_STEP.recipe, formulas.rotary_step, elsewhere.steps, CACHED),
    "squeeze-and-excitation": (
        SQUEEZE.recipe,
        lambda *of: formulas.squeeze_excitation(*of)[0],
        elsewhere.pictures,
        ["F", "W_1", "W_2"],
    ),
    "CBAM": (
        CBAM.recipe,
        lambda *of: formulas.cbam_channels(*of)[0],
        elsewhere.pictures,
        ["F", "W_1", "W_2"],
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_recipe_without_a_mistake_is_the_formula(name):
    recipe, formula, found, operands = RIGHT[name]
    for case in found():
        given = [case.arrays[x] for x in operands]
        ours, theirs = recipe(*given), formula(*given)
        for one, other in zip(*(x if isinstance(x, tuple) else (x,) for x in (ours, theirs)), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12, err_msg=case.name)


def test_the_bias_of_alibi_is_the_formula_with_the_last_query_beside_the_last_key():
    for case in elsewhere.wide_biases():
        h, n, m = (case.arrays[x] for x in ("heads", "count", "keys"))
        wanted = formulas.alibi(np.arange(m - n, m), np.arange(m), h)
        np.testing.assert_allclose(ALIBI.recipe(h, n, m), wanted)


def test_slopes_by_pencil():
    assert SLOPES.recipe(8)[0] == 1 / 2
    assert SLOPES.recipe(4).tolist() == [1 / 4, 1 / 16, 1 / 64, 1 / 256]
    (authors,) = SLOPES.conventions
    np.testing.assert_allclose(authors.of(SLOPES.recipe)(3), [1 / 16, 1 / 256, 1 / 4])


# Mutants, by the recipe that has their part, and its inputs.
TARGETS = {
    "rotary": (ROTARY, elsewhere.rotations, ["turned", "positions"]),
    "step": (STEP, elsewhere.steps, CACHED),
    "rotary_step": (ROTARY_STEP, elsewhere.steps, CACHED),
    "cbam_channels": (CBAM, elsewhere.pictures, ["F", "W_1", "W_2"]),
}
# Another convention; what examine itself sees, for the arrays have changed; and a base that nobody asks for.
ELSEWHERE = {"the_other_convention", "not_turned", "written_into_the_cache", "base_forgotten"}
MUTANTS = [
    (target, mutant)
    for target in TARGETS
    for mutant in mutants.mutants(target)
    if mutant.function.__name__ not in ELSEWHERE
]


def outcomes(function, found, operands):
    made = []
    for case in found():
        given = tuple(np.copy(case.arrays[x]) for x in operands)
        with np.errstate(all="ignore"):
            result = function(*given)
        whole = result if isinstance(result, tuple) else (result,)
        made.append(Outcome(case.name, tuple(case.arrays[x] for x in operands), whole))
    return made


@pytest.mark.parametrize(("target", "mutant"), MUTANTS, ids=lambda x: getattr(x, "name", x))
def test_every_mutant_is_named_by_its_recipe(target, mutant):
    known, found, operands = TARGETS[target]
    made = outcomes(mutant.function, found, operands)
    if target == "cbam_channels":
        made = [Outcome(o.name, o.inputs, o.given[:1]) for o in made]
    weight, explanations = Engine(known).explain(made)
    assert weight is Weight.MISTAKE
    assert mutant.name in {c.sentence for e in explanations for c in e.mistakes}


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.name)
def test_every_change_shows_on_some_input(known):
    asked = [
        kind.inputs(case.of(axes))
        for kind in kinds.KINDS
        if kind.known is known
        for case in kind.plain()
        for axes in (4, 2)
    ]
    for change in (*known.mistakes, *known.conventions):
        still = known is STEP and change.path in ("places", "turn")  # nothing turns, so that it makes no odds
        base = NEIGHBOURS.of(known.recipe) if still else known.recipe
        assert any(_differ(base, change.of(base), given) for given in asked), change.sentence


def _differ(one, other, given):
    with np.errstate(all="ignore"):
        try:
            pairs = zip(*(_arrays(recipe(*given)) for recipe in (one, other)), strict=True)
        except ValueError:  # axes that do not fit, as in the function itself
            return False
    return any(a.shape != b.shape or not np.allclose(a, b, equal_nan=True) for a, b in pairs)


def _arrays(result):
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.name)
def test_every_change_has_a_sentence_and_a_chapter(known):
    for change in (*known.mistakes, *known.conventions):
        assert change.sentence
        assert change.chapter.startswith("Chapter"), change.sentence


def test_two_conventions_at_once_are_right():
    def llama_in_halves(X, positions):
        return formulas.rotary_halves(X, positions, base=500_000.0)

    made = outcomes(llama_in_halves, elsewhere.rotations, ["turned", "positions"])
    weight, (only,) = Engine(ROTARY).explain(made)
    assert weight is Weight.CONVENTION
    assert len(only.conventions) == 2
    assert apart(*only.conventions)


# Halves that are empty.


def from_the_maximum(O_1, L_1, O_2, L_2):
    c = np.maximum(L_1, L_2)
    a, b = np.exp(L_1 - c), np.exp(L_2 - c)
    return (a[..., None] * O_1 + b[..., None] * O_2) / (a + b)[..., None], c + np.log(a + b)


def exchanged_and_guarded(O_1, L_1, O_2, L_2):
    O, _ = from_the_maximum(O_1, L_2, O_2, L_1)
    return np.nan_to_num(O), np.logaddexp(L_1, L_2)


def sigmoid(O_1, L_1, O_2, L_2):
    w = np.nan_to_num(1 / (1 + np.exp(L_2 - L_1)))[..., None]
    return w * O_1 + np.nan_to_num(1 / (1 + np.exp(L_1 - L_2)))[..., None] * O_2, L_1 + np.log1p(
        np.exp(L_2 - L_1)
    )


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (from_the_maximum, "Two empty states"),
        (exchanged_and_guarded, "Each output has the weight of the other"),
        (sigmoid, "not a number where the first half is empty"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_what_becomes_of_an_empty_half_has_one_name(function, name):
    made = outcomes(function, cases.halves, ["O_1", "L_1", "O_2", "L_2"])
    weight, (only,) = Engine(MERGE).explain(made)
    assert weight is Weight.MISTAKE
    assert name in only.changes[0].sentence


# Where rounding decides.


def test_an_input_on_which_rounding_decides_says_nothing_and_most_must_say_something():
    def shares(S):
        return S / S.sum(-1, keepdims=True)

    rng = np.random.default_rng(0)
    sound = [1 + rng.random(size=(3, 4)), 2 + rng.random(size=(2, 5))]
    fragile = np.array(
        [[0.1, 0.2, -0.3, 0.0], [0.7, -0.4, -0.2, -0.1], [0.3, 0.6, -0.8, -0.1]]
    )  # sums near 0
    made = [Outcome(str(len(S)), (S,), (shares(S),)) for S in sound]
    lost = [Outcome("fragile", (fragile,), (-3 * shares(fragile),))]
    weight, explanations = Engine(SOFTMAX).explain(made + lost)
    assert weight is Weight.MISTAKE
    assert "without exponentials" in explanations[0].changes[0].sentence
    assert Engine(SOFTMAX).explain(lost)[0] is not Weight.MISTAKE


def test_a_log_sum_exp_is_as_coarse_as_its_scores_and_right():
    """exp(S − L) where one score is far above the others: the weight is 1, and L has lost its last digits."""

    def by_the_log_sum_exp(S):
        S = S.astype(np.float32)
        c = S.max(-1, keepdims=True)
        return np.exp(S - (c + np.log(np.exp(S - c).sum(-1, keepdims=True))))

    S = np.array([[9000.125, 9000.0, 8999.5], [9000.25, 9000.0, 8000.0]])
    made = [Outcome("large", (S,), (by_the_log_sum_exp(S),))]
    assert Engine(SOFTMAX).explain(made)[0] is Weight.RIGHT
    assert Engine(replace(SOFTMAX, orders=())).explain(made)[0] is not Weight.RIGHT


# The door.


@pytest.mark.parametrize(
    "function",
    [
        formulas.sinusoids,
        formulas.rotary,
        formulas.rotary_halves,
        formulas.alibi_slopes,
        formulas.step,
        formulas.rotary_step,
        formulas.squeeze_excitation,
        formulas.cbam_channels,
        formulas.attention_backward,
    ],
)
def test_no_formula_around_attention_makes_a_mistake(function):
    said = examine(function)
    assert said, said


def test_what_differs_from_the_formula_by_definition_alone_is_right():
    def future_hidden(n_heads, seq_len):
        apart = np.arange(seq_len) - np.arange(seq_len)[:, None]
        return 2.0 ** (-8 * np.arange(1, n_heads + 1) / n_heads)[:, None, None] * np.where(
            apart > 0, -np.inf, apart
        )

    def sines_then_cosines(n, d):
        P = formulas.sinusoids(n, d)
        return np.concatenate([P[:, 0::2], P[:, 1::2]], axis=1)

    for function, by in ((future_hidden, "causal mask in it"), (sines_then_cosines, "all sines first")):
        said = examine(function)
        assert said
        assert by in said.title


def test_a_step_that_keeps_its_cache_to_itself_is_judged_by_its_output():
    def unmasked(q, k, v, cache_k, cache_v):
        K, V = np.concatenate([cache_k, k], -2), np.concatenate([cache_v, v], -2)
        return formulas.softmax(q @ K.swapaxes(-1, -2) / q.shape[-1] ** 0.5) @ V

    said = examine(unmasked)
    assert said.status is Status.MISTAKE
    assert "the first sees the last" in said.names[0][0]


def test_a_cache_of_another_length_is_told_by_its_shape():
    def forgets(q, k, v, past_k, past_v):
        return formulas.step(q, k, v, past_k, past_v)[0], k, v

    said = examine(forgets)
    assert said.names == (("The new keys and values are handed on without the old ones",),)
    assert "has the shape" in str(said)


def test_a_name_says_which_of_two_gates_is_meant():
    def cbam(F, W_1, W_2):
        return formulas.squeeze_excitation(F, W_1, W_2)[0]

    def squeeze(F, W_1, W_2):
        return formulas.squeeze_excitation(F, W_1, W_2)[0]

    assert examine(squeeze)
    assert "The mean alone" in examine(cbam).title
