"""What a reader without scripts sees in a widget's place: its first numbers, drawn by the book's figures.

One function per widget; it takes what `widget_numbers` gives under the same name and returns a figure.
"""

import matplotlib.pyplot as plt
import numpy as np

from selfattention import clusters, figures, formulas
from selfattention.figures import context as context_drawings
from selfattention.figures import decoding as decoding_drawings
from selfattention.figures import dialects as dialects_drawings
from selfattention.figures import formula as formula_drawings
from selfattention.figures import heads as heads_drawings
from selfattention.figures import projections as projections_drawings
from selfattention.figures import scaling as scaling_drawings
from selfattention.figures import softmax as softmax_drawings
from selfattention.figures import trained as trained_drawings
from selfattention.figures import vision as vision_drawings


def projections(words, X, W_Q, W_K, W_V):
    """The words and their three views."""
    Q, K, V = formulas.projections(X, W_Q, W_K, W_V)
    figure, axes = plt.subplots(2, 2, figsize=(5.2, 5.4))
    projections_drawings.three_views(axes, words, X=X, Q=Q, K=K, V=V)
    return figure


def scaling(widths, queries):
    """The first query's weights at three widths, unscaled and divided by √d_k."""
    raw, widths = queries[0][::2], np.array(widths[::2])
    scaled = raw / widths[:, None] ** 0.5
    figure, axes = plt.subplots(2, 3, sharex=True, sharey=True)
    scaling_drawings.weight_rows(axes, formulas.softmax(raw), formulas.softmax(scaled), widths)
    return figure


def softmax(s):
    """The three weights and their entropy as the temperature rises."""
    temperatures = np.logspace(-1, 2, 100)
    A = formulas.softmax(s / temperatures[:, None])
    names = [f"score ln {round(np.exp(score))}" for score in s]
    figure, axes = plt.subplots(1, 2)
    entropy = formulas.entropy(A)
    softmax_drawings.weights_and_entropy(axes, temperatures, A, entropy, names, np.log(len(s)))
    return figure


def context(A, V):
    """The output between its values, from cold to hot."""
    temperatures = np.array([0.05, *np.logspace(-1, 3, 200)])[:, None]
    path = formulas.weighted_sum(formulas.softmax(np.log(A) / temperatures), V)
    figure, ax = plt.subplots(figsize=(4.8, 3.2))
    output = formulas.weighted_sum(A, V)[0]
    context_drawings.path_between_values(ax, V, path, output, "T = 1")
    return figure


def masks(S, rules):
    """The weights when everything is seen, and under the causal rule."""
    figure, axes = plt.subplots(1, 2)
    for ax, rule in zip(axes, ("everything", "causal"), strict=True):
        A = formulas.softmax(formulas.masked_scores(S, rules[rule]))
        figures.matrix(ax, A, "A", title=rule)
    return figure


def heads(words, X, W_Q, W_K, W_V, W_O, counts):
    """The weights of one head, and of two that share its matrices' columns."""
    wide = formulas.projections(X, W_Q, W_K, W_V)
    weights = [A for h in counts[:2] for A in formulas.attend_by_head(*wide, h)[1]]
    figure, axes = plt.subplots(1, 3)
    titles = ["one head", "first of two", "second of two"]
    heads_drawings.weights_side_by_side(axes, weights, titles, decimals=2)
    return figure


def formula(words, columns, X, W_Q, W_K, W_V, W_O):
    """All matrices from X to Y."""
    Q, K, V = formulas.projections(X, W_Q, W_K, W_V)
    S = formulas.scaled_scores(Q, K)
    A = formulas.softmax(S)
    O = formulas.weighted_sum(A, V)
    Y = formulas.output_projection(O, W_O)
    figure, axes = plt.subplot_mosaic(formula_drawings.LAYOUT, figsize=(5.2, 8.4))
    matrices = {"X": X, "Q": Q, "K": K, "V": V, "S": S, "A": A, "O": O, "Y": Y}
    formula_drawings.from_x_to_y(axes, matrices, words, columns)
    return figure


def trained(layer, head, reactions):
    """Lines from the first reaction's product to its reactants, as dark as the weight."""
    first = reactions[0]
    arrow = first["tokens"].index(">>")
    above, below = first["tokens"][1:arrow], first["tokens"][arrow + 1 : -1]
    keys, queries = first["reactants"] - 1, first["products"] - arrow - 1
    figure, ax = plt.subplots(figsize=(6.4, 2.4))
    trained_drawings.strip(ax, above, below, keys, queries, first["A"][:, first["reactants"]])
    return figure


def decoding(tokens, prompt, next, layers, A, bytes):
    """The weights of all tokens, the heads' mean, in the layer that the widget begins with."""
    heads = A[-2]
    mean = np.zeros((len(tokens),) * 2)
    for head in heads:
        for i, row in enumerate(head):
            mean[i, : i + 1] += np.array(row) / 1000 / len(heads)
    figure, ax = plt.subplots(figsize=(6.4, 6.4))
    decoding_drawings.sentence(ax, tokens, mean, prompt)
    return figure


def devices(shape, machine, groups, rates, wires):
    """Milliseconds of the three ways against the number of ranks, at the widget's first numbers."""
    wire = clusters.Wire(machine["wire"] * 1e9, machine["latency"])
    cluster = clusters.Cluster(machine["rate"] * 1e12, np.inf, 1, wire, wire)
    attention = clusters.Attention(2**17, g=groups[0], **shape)
    ranks = 2 ** np.arange(1, 11)
    found = [clusters.splits(cluster, attention, int(p)) for p in ranks]
    figure, ax = plt.subplots(figsize=(5.6, 3.4))
    for name, role in (("heads", "Q"), ("ring", "K"), ("all-to-all", "V")):
        points = [
            (p, 1e3 * split[name].seconds) for p, split in zip(ranks, found, strict=True) if name in split
        ]
        ax.loglog(*zip(*points, strict=True), "o-", color=figures.ROLES[role], label=name, markersize=4)
    ax.set_xscale("log", base=2)
    ax.set_xlabel("ranks")
    ax.set_ylabel(f"milliseconds, {attention.n:,} tokens")
    ax.legend()
    return figure


def digits(pictures):
    """The first digit, its class token's attention layer by layer, and what deletion says."""
    first = pictures[0]
    seen = [np.array(A)[0, 1:] for A in first["A"]]
    maps = np.reshape([*seen, first["drop"], first["blank"]], (-1, 4, 4))
    layers = [f"layer {k + 1}" for k in range(len(seen))]
    titles = [f"it reads {first['says']}", *layers, "key hidden", "pixels blank"]
    figure, axes = plt.subplots(1, len(titles), figsize=(7.2, 1.8))
    vision_drawings.patch_maps(axes, np.array(first["pixels"]), maps, titles)
    return figure


def dialects(libraries, doors, groups, questions, answers, calls, lines, moves):
    """Every library by its first door, as the page's own figure has it."""
    first = {library: k for k, (library, _) in reversed(list(enumerate(doors)))}
    columns = [first[library] for library in sorted(first)]
    codes = [[_code(answers[k].get(q)) for k in columns] for q in range(len(questions))]
    figure, ax = plt.subplots(figsize=(6.4, 9.4))
    titles = [library["title"] for library in libraries]
    dialects_drawings.table(ax, np.array(codes), [q["name"] for q in questions], titles, groups)
    return figure


def _code(said):
    """What `figures.dialects` draws for a door's answers to one question: variants that disagree depend."""
    if said is None:
        return dialects_drawings.NO_ARGUMENT
    readings = {reading for _, reading, *_ in said}
    code = readings.pop() if len(readings) == 1 else dialects_drawings.DEPENDS
    return max(code, dialects_drawings.OTHER)  # no answer is drawn as none of the readings
