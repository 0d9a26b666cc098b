"""Train the readers of digits that a page has no time for, and write down what they do.

    python -m selfattention.trained.digit_runs

trains nine nets for each seed (some minutes of one thread) and writes data/digits.json, a row for each net
and each deletion curve; data/digits.npz, the weights of the first seed's; and data/digit_maps.json, its
attention on ten digits, for the widget. `load` and `maps` read them; tests compute part of them again.
"""

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from selfattention.extras import needed

with needed():
    import torch

from selfattention.trained import deletion, digits
from selfattention.trained.digits import Digits, Reader

DATA = files("selfattention") / "data"
SEEDS = range(5)
COMMAND = "python -m selfattention.trained.digit_runs"

# Each trained from the start, with the order of pictures of its seed.
FROM_THE_START: dict[str, Callable[[int], Reader]] = {
    "as trained": digits.reader,
    "uniform from the start": lambda seed: digits.uniform(digits.reader(seed)),
    "silent from the start": lambda seed: digits.silent(digits.reader(seed)),
    "mean pooling": digits.averaging_reader,
    "mean pooling, silent from the start": lambda seed: digits.silent(digits.averaging_reader(seed)),
    "placeless from the start": lambda seed: digits.placeless(digits.reader(seed)),
    "one position for all": lambda seed: digits.one_position(digits.reader(seed)),
    "batch_first forgotten, class token": lambda seed: digits.over_the_batch(digits.reader(seed)),
    "batch_first forgotten, mean pooling": lambda seed: digits.over_the_batch(digits.averaging_reader(seed)),
}
# What is done to the first of them when it has been trained.
AFTERWARDS: dict[str, Callable[[Reader], Reader]] = {
    "uniform after training": digits.uniform,
    "uniform after training, layer 1": lambda net: digits.uniform(net, [0]),
    "uniform after training, layer 2": lambda net: digits.uniform(net, [1]),
    "silent after training": digits.silent,
}
# What is shown pictures whose patches are shuffled.
SHUFFLED = {
    "patches shuffled": "as trained",
    "placeless, patches shuffled": "placeless from the start",
}


def trained(name: str, seed: int, train: Digits) -> Reader:
    """The net of this name in `FROM_THE_START`, trained, with a bar."""
    return digits.train(FROM_THE_START[name](seed), train, seed, text=f"{seed}  {name}")


def row(name: str, seed: int, net: Reader, test: Digits) -> dict[str, Any]:
    """What is written down of a net: accuracy in one batch and one picture `alone`, loss in nats, size."""
    return {
        "seed": seed,
        "net": name,
        "accuracy": round(digits.accuracy(net, test), 4),
        "loss": round(digits.loss(net, test), 4),
        "alone": round(digits.alone(net, test), 4),
        "parameters": digits.parameters(net),
    }


def rows(seed: int, nets: dict[str, Reader], test: Digits) -> list[dict[str, Any]]:
    """A row for every net of a seed, for what is done to the first, and for it on shuffled patches."""
    first = nets["as trained"]
    return [
        *(row(name, seed, net, test) for name, net in nets.items()),
        *(row(name, seed, change(first), test) for name, change in AFTERWARDS.items()),
        *(row(name, seed, nets[of], digits.shuffled(test, seed)) for name, of in SHUFFLED.items()),
    ]


def deletions(seed: int, net: Reader, test: Digits) -> list[dict[str, Any]]:
    """A row for every order and way of deleting: the curve, and rank correlations with leave one out."""
    scores = deletion.orders(net, test, seed)
    return [
        {
            "seed": seed,
            "how": how,
            "order": order,
            "accuracy": [round(share, 4) for share in deletion.curve(net, test, scores[order], delete)],
            "agreement": round(deletion.agreement(scores[order], scores[f"leave one out, {how}"]), 3),
        }
        for how, delete in deletion.WAYS.items()
        for order in scores
    ]


def logistic_row(train: Digits, test: Digits) -> dict[str, Any]:
    """scikit-learn's logistic regression in the form of `row`; it draws nothing, and has no seed."""
    fitted = digits.logistic_regression(train)
    pixels, labels = test.pictures.flatten(1).numpy(), test.labels.numpy()
    share = fitted.score(pixels, labels)
    right = fitted.predict_proba(pixels)[np.arange(len(labels)), labels]
    return {
        "seed": None,
        "net": "logistic regression",
        "accuracy": round(share, 4),
        "loss": round(float(-np.log(right).mean()), 4),
        "alone": round(share, 4),  # it reads each picture alone in any case
        "parameters": fitted.coef_.size + fitted.intercept_.size,
    }


def one_of_each(test: Digits) -> Digits:
    """The first 0 of the test pictures, the first 1, …, the first 9, whatever a net says of them."""
    return test[torch.stack([(test.labels == label).nonzero()[0, 0] for label in range(10)])]


def attention_maps(net: Reader, some: Digits) -> list[dict[str, Any]]:
    """Each picture with its attention and what deletion says of every patch; shares in thousandths.

    "pixels" are 0 … 16; "A" is a layer's mean of the heads, row i what token i gives to whom, the class token
    first; "drop" and "blank" say how much less probable the net's answer is without each patch.
    """
    with torch.no_grad():
        A, p = net.weights(some.pictures).mean(2), net(some.pictures).softmax(-1)
    lost = {how: deletion.left_out(net, some.pictures, delete) for how, delete in deletion.WAYS.items()}
    return [
        {
            "label": int(some.labels[i]),
            "says": int(p[i].argmax()),
            "p": _thousandths(p[i].amax()),
            "pixels": (16 * some.pictures[i]).round().int().tolist(),
            "A": _thousandths(A[i]),
            **{how: _thousandths(each[i]) for how, each in lost.items()},
        }
        for i in range(len(some))
    ]


def load() -> dict[str, Any]:
    """data/digits.json: "command", "epochs", "gone", "rows" and "deletion"."""
    return json.loads((DATA / "digits.json").read_text("utf-8"))


def maps() -> dict[str, Any]:
    """data/digit_maps.json: "command" and "pictures"."""
    return json.loads((DATA / "digit_maps.json").read_text("utf-8"))


def _thousandths(shares):
    return (1000 * shares).round().int().tolist()


def _write(name, **parts):
    """A part to a line, and of a list each row."""
    lines = (
        f'"{key}": [\n' + ",\n".join(json.dumps(row, separators=(",", ":")) for row in part) + "\n]"
        if isinstance(part, list)
        else f'"{key}": {json.dumps(part)}'
        for key, part in parts.items()
    )
    Path(str(DATA / name)).write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


def main() -> None:
    torch.set_num_threads(1)
    train, test = digits.load()
    found, curves = [logistic_row(train, test)], []
    for seed in SEEDS:
        nets = {name: trained(name, seed, train) for name in FROM_THE_START}
        found += rows(seed, nets, test)
        curves += deletions(seed, nets["as trained"], test)
        if seed == SEEDS[0]:
            weights = {name: W.numpy() for name, W in nets["as trained"].state_dict().items()}
            np.savez_compressed(Path(str(digits.WEIGHTS)), **weights)
            pictures = attention_maps(nets["as trained"], one_of_each(test))
            _write("digit_maps.json", command=COMMAND, pictures=pictures)
        said = {"command": COMMAND, "epochs": digits.EPOCHS, "gone": [*deletion.GONE]}
        _write("digits.json", **said, rows=found, deletion=curves)


if __name__ == "__main__":
    main()
