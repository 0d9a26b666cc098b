/** Divide the scores of 64 strangers by a power of d_k, and watch the weights. Chapter 04. */
import { effective_keys, softmax } from "./attention.mjs";
import { bars, button, html, indexed, number, slider, summary } from "./parts.mjs";

export default function (stage, { widths, queries }) {
  let [query, width, power] = [0, 0, 0];
  const m = queries[0][0].length;
  const weights = bars("A", m);
  const facts = {
    spread: "spread of the scores",
    largest: "largest weight",
    keys: `effective keys, of ${m}`,
  };
  const numbers = Object.fromEntries(
    Object.keys(facts).map((name) => [name, html("dd", { "data-name": name })]),
  );
  const { node: says, say } = summary();

  const update = () => {
    const d_k = widths[width];
    const S = queries[query][width].map((s) => s / d_k ** power);
    const A = softmax(S);
    const largest = Math.max(...A);
    weights.draw(A);
    numbers.spread.textContent = number(deviation(S));
    numbers.largest.textContent = number(largest, 3);
    numbers.keys.textContent = number(effective_keys(A), 1);
    say(
      `With ${d_k} entries and the scores divided by ${number(d_k ** power)}, the luckiest of ${m} keys gets ` +
        `${number(100 * largest, 0)} % of the attention, and ${number(effective_keys(A), 1)} keys share it.`,
    );
  };
  const set = (change) => (value) => {
    change(value);
    update();
  };
  stage.append(
    slider(
      "d_k",
      indexed("d", "k"),
      { min: 0, max: widths.length - 1, step: 1, value: width, shown: (i) => String(widths[i]) },
      set((i) => (width = i)),
    ),
    slider(
      "power p, scores divided by d_k to the p",
      "power p",
      { min: 0, max: 1, step: 0.05, value: power, shown: (p) => number(p) },
      set((p) => (power = p)),
    ),
    button(
      "Another query",
      set(() => (query = (query + 1) % queries.length)),
    ),
    weights.node,
    html(
      "dl",
      { class: "widget-facts" },
      ...Object.entries(facts).map(([name, title]) => html("div", {}, html("dt", {}, title), numbers[name])),
    ),
    says,
  );
  update();
}

function deviation(row) {
  const mean = row.reduce((total, x) => total + x, 0) / row.length;
  return Math.sqrt(row.reduce((total, x) => total + (x - mean) ** 2, 0) / row.length);
}
