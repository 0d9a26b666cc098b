/** Which way to divide pays on a cluster of one's own, and whether the ring hides. Chapter 16. */
import * as formulas from "./attention.mjs";
import { choice, html, matrix, number, short, slider, summary } from "./parts.mjs";

const whole = (x) => Math.round(x).toLocaleString("en");
const WAYS = { heads: "dividing the heads", ring: "the ring", "all-to-all": "all-to-all" };

export default function (stage, { shape, machine, rates, wires, groups }) {
  const start = [17, 6, rates.indexOf(machine.rate), wires.indexOf(machine.wire)];
  let [tokens, ranks, rate, wire] = start;
  let g = groups[0];
  const [times, held] = ["milliseconds", "GB a rank holds"].map((caption) =>
    matrix("O", caption, Object.keys(WAYS), [""], (x) => (x ? precise(x) : "–")),
  );
  const facts = { own: "tokens a rank", hides: "the ring hides from" };
  const numbers = Object.fromEntries(
    Object.keys(facts).map((name) => [name, html("dd", { "data-name": name })]),
  );
  const { node: says, say } = summary();

  const update = () => {
    const [n, p] = [2 ** tokens, 2 ** ranks];
    const wired = [1e12 * rates[rate], 1e9 * wires[wire], machine.latency];
    const found = splits({ ...shape, g, n }, p, wired, machine.overlap);
    times.draw(found.map((split) => [1e3 * (split?.seconds ?? 0)]));
    held.draw(found.map((split) => [1e-9 * (split?.held_bytes ?? 0)]));
    const { h, d_k, d_v, seen, word_bytes } = shape;
    const from = formulas.hiding_tokens(h, g, d_k, d_v, seen, word_bytes, ...wired);
    numbers.own.textContent = whole(n / p);
    numbers.hides.textContent = whole(from);
    const seconds = found.map((split) => split?.seconds ?? Infinity);
    const best = Object.values(WAYS)[seconds.indexOf(Math.min(...seconds))];
    say(
      `${whole(n)} tokens on ${p} ranks: ${best} takes least. ` +
        (n / p >= from
          ? "The ring hides behind arithmetic: no rank ever waits for keys."
          : "The ring does not hide: it waits for its messages.") +
        (found[2] ? "" : ` All-to-all has no group of heads for each of ${p} ranks.`),
    );
  };
  const set = (change) => (value) => {
    change(value);
    update();
  };
  const power = (label, min, max, value, changed) =>
    slider(label, label, { min, max, step: 1, value, shown: (x) => whole(2 ** x) }, set(changed));
  const listed = (label, values, value, changed) =>
    slider(
      label,
      label,
      { min: 0, max: values.length - 1, step: 1, value, shown: (i) => short(values[i]) },
      set(changed),
    );
  stage.append(
    power("tokens", 14, 22, tokens, (x) => (tokens = x)),
    power("ranks", 1, 10, ranks, (x) => (ranks = x)),
    listed("TFLOP/s of a rank", rates, rate, (i) => (rate = i)),
    listed("GB/s between ranks", wires, wire, (i) => (wire = i)),
    choice(
      `groups of its ${shape.h} heads`,
      Object.fromEntries(groups.map((x) => [x, String(x)])),
      g,
      set((x) => (g = Number(x))),
    ),
    html("div", { class: "widget-row" }, times.node, held.node),
    html(
      "dl",
      { class: "widget-facts" },
      ...Object.entries(facts).map(([name, title]) => html("div", {}, html("dt", {}, title), numbers[name])),
    ),
    says,
  );
  update();
}

const precise = (x) => number(x, Math.max(0, 2 - Math.floor(Math.log10(x))));

/** heads, ring and all-to-all of p ranks, or undefined: `splits` of `selfattention.clusters`. */
function splits({ n, h, g, d_k, d_v, d_model, seen, word_bytes }, p, wired, overlap) {
  const work = (rows, heads) => 2 * seen * heads * rows * n * (d_k + d_v);
  const own = Math.ceil(n / p);
  const exposed = (heads, sent, words) => ({
    seconds: formulas.exposed_seconds(p, work(n, heads), sent, ...wired),
    held_bytes: words * word_bytes,
  });
  const byHeads = () => {
    const h_own = Math.ceil(h / p);
    const g_own = Math.ceil(h_own / (h / g));
    const words = formulas.head_parallel_words(n, d_model, h_own, g_own, d_k, d_v);
    return exposed(h_own, formulas.all_reduce_bytes(n * d_model, p, word_bytes), words);
  };
  const ring = () => {
    const sent = formulas.ring_bytes(n, Math.floor(n / p), g, d_k, d_v, word_bytes);
    const words = 2 * own * d_model + formulas.ring_words(own, own, own, h, g, d_k, d_v);
    const seconds = formulas.ring_seconds(p, work(own, h), sent, ...wired, overlap);
    return { seconds, held_bytes: words * word_bytes };
  };
  const allToAll = () => {
    const g_own = Math.ceil(g / p);
    const parts = [n, own, h, (h / g) * g_own, g, g_own, d_k, d_v];
    const words = 2 * own * d_model + formulas.all_to_all_words(...parts);
    return exposed(parts[3], formulas.all_to_all_bytes(...parts, word_bytes, 4), words);
  };
  return [p <= h && byHeads(), ring(), p <= g && allToAll()].map((split) => split || undefined);
}
