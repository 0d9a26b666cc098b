/** Three scores, a temperature, and a number added to all scores. Chapter 05. */
import { entropy, softmax } from "./attention.mjs";
import { html, number, paint, slider, summary } from "./parts.mjs";

export default function (stage, { s }) {
  const inside = s.map(Math.exp); // the book writes these scores as ln 1, ln 2, ln 5
  let [T, shift] = [1, 0];
  const rows = inside.map((_, j) => ({
    score: html("td"),
    weight: html("td", { class: "wide" }),
    printed: html("td"),
  }));
  const facts = { largest: "largest weight", entropy: "entropy, in nats", c: "maximum c", Z: "row sum Z" };
  const numbers = Object.fromEntries(
    Object.keys(facts).map((name) => [name, html("dd", { "data-name": name })]),
  );
  const { node: says, say } = summary();

  const update = () => {
    const S = inside.map((x) => (Math.log(x) + shift) / T);
    const A = softmax(S);
    const c = Math.max(...S);
    const printed = asPrinted(S);
    rows.forEach(({ score, weight, printed: cell }, j) => {
      score.textContent = number(S[j]);
      paint(weight, A[j], 1, number(A[j], 3));
      cell.textContent = number(printed[j], 3);
    });
    numbers.largest.textContent = number(Math.max(...A), 3);
    numbers.entropy.textContent = number(entropy(A), 3);
    numbers.c.textContent = number(c);
    numbers.Z.textContent = number(
      S.reduce((total, x) => total + Math.exp(x - c), 0),
      3,
    );
    say(inWords(A, printed, T));
  };
  const set = (change) => (value) => {
    change(value);
    update();
  };
  stage.append(
    ...inside.map((x, j) =>
      slider(
        `score of key ${j + 1}`,
        `key ${j + 1}`,
        { min: 1, max: 20, step: 1, value: Math.round(x), shown: (k) => `ln ${k}` },
        set((k) => (inside[j] = k)),
      ),
    ),
    slider(
      "temperature T",
      "temperature",
      { min: -1, max: 2, step: 0.02, value: 0, shown: (log) => number(10 ** log) },
      set((log) => (T = 10 ** log)),
    ),
    slider(
      "added to all scores",
      "added to all",
      { min: -1000, max: 1000, step: 20, value: 0, shown: (x) => number(x, 0) },
      set((x) => (shift = x)),
    ),
    html(
      "table",
      { class: "widget-matrix", "data-role": "A", "data-name": "weights" },
      html("caption", {}, "One row of weights"),
      html(
        "thead",
        {},
        html(
          "tr",
          {},
          ...["key", "score / T", "weight", "as printed, without c"].map((name) =>
            html("th", { scope: "col" }, name),
          ),
        ),
      ),
      html(
        "tbody",
        {},
        ...rows.map(({ score, weight, printed }, j) =>
          html("tr", {}, html("th", { scope: "row" }, String(j + 1)), score, weight, printed),
        ),
      ),
    ),
    html(
      "dl",
      { class: "widget-facts" },
      ...Object.entries(facts).map(([name, title]) => html("div", {}, html("dt", {}, title), numbers[name])),
    ),
    says,
  );
  update();
}

/** exp(s_j) / Σ exp(s_l), with no maximum subtracted: the line that overflows. */
function asPrinted(S) {
  const E = S.map(Math.exp);
  const Z = E.reduce((total, e) => total + e, 0);
  return E.map((e) => e / Z);
}

function inWords(A, printed, T) {
  const best = Math.max(...A);
  const winner = A.indexOf(best) + 1;
  const spoiled = printed.every(Number.isFinite)
    ? ""
    : " As printed, the formula has overflowed or divided zero by zero.";
  return `At T = ${number(T)} key ${winner} has ${number(100 * best, 1)} % of the attention.${spoiled}`;
}
