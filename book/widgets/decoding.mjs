/** A language model's recorded attention, one token at a time, above the cache that it reads. Chapter 15. */
import { bars, choice, html, number, slider, summary } from "./parts.mjs";

const ALL = "all";

export default function (stage, { tokens, prompt, next, layers, A, bytes }) {
  const chosen = { layer: layers.length - 2, head: ALL, step: prompt };
  const heads = A[0].map((_, head) => head);
  const attention = bars("A", tokens.length);
  const cache = ["K", "V"].map((role) => strip(role, tokens));
  const words = tokens.map((token) => html("span", { class: "atom" }, token.replaceAll("\n", "⏎")));
  const facts = ["first token", "itself", "cache, bytes", "then it says"].map((name) => fact(name));
  const { node: says, say } = summary();

  const update = () => {
    const { layer, head, step } = chosen;
    const rows = (head === ALL ? heads : [Number(head)]).map((h) => A[layer][h][step]);
    const row = rows[0].map((_, j) => rows.reduce((sum, one) => sum + one[j], 0) / rows.length / 1000);
    attention.draw(tokens.map((_, j) => row[j] ?? 0));
    words.forEach((word, j) => {
      word.style.setProperty("--share", row[j] ?? 0);
      word.classList.toggle("best", j === step);
      word.classList.toggle("later", j > step);
    });
    cache.forEach(({ cells }) => cells.forEach((cell, j) => (cell.dataset.when = when(j, step, prompt))));
    const [[word, p]] = next[step];
    const told = [number(row[0], 3), number(row[step], 3), bytes * (step + 1), `${show(word)}, p = ${number(p)}`];
    facts.forEach(({ tell }, k) => tell(told[k].toLocaleString("en")));
    say(inWords(tokens[step], step, prompt, row, layers[layer], head));
  };
  const set = (name) => (value) => {
    chosen[name] = Number.isNaN(Number(value)) ? value : Number(value);
    update();
  };
  const shown = (step) => `${step + 1} of ${tokens.length}`;
  const range = { min: 0, max: tokens.length - 1, step: 1, value: chosen.step, shown };
  stage.append(
    slider("token", "token", range, set("step")),
    choice("layer", Object.fromEntries(layers.map((name, l) => [l, name])), chosen.layer, set("layer")),
    choice("head", { ...heads, [ALL]: "mean of all" }, ALL, set("head")),
    html("div", { class: "widget-smiles", "data-role": "A" }, html("span", { class: "tokens" }, ...words)),
    attention.node,
    ...cache.map(({ node }) => node),
    html("dl", { class: "widget-facts" }, ...facts.map(({ node }) => node)),
    says,
  );
  update();
}

const show = (word) => `“${word.replaceAll("\n", "⏎")}”`;

/** A prompt arrives as a whole: until it has been read, all of it is new. */
const when = (j, step, prompt) => (j > step ? "later" : step < prompt || j === step ? "now" : "kept");

function strip(role, tokens) {
  const cells = tokens.map(() => html("span"));
  const node = html("div", { class: "widget-cache", "data-role": role, "aria-hidden": "true" }, ...cells);
  return { node, cells };
}

function fact(name) {
  const value = html("dd", { "data-name": name });
  return { node: html("div", {}, html("dt", {}, name), value), tell: (text) => (value.textContent = text) };
}

function inWords(token, step, prompt, row, layer, head) {
  const who = head === ALL ? "the heads" : `head ${head}`;
  const gives = head === ALL ? "give" : "gives";
  const kept =
    step < prompt
      ? "It belongs to the prompt, whose keys and values are all computed at once."
      : `The cache holds ${step} keys and values in each group; one is new.`;
  const first = step ? `${number(100 * row[0], 0)} % of the attention to the first token` : "everything to the only token there is";
  return `Token ${step + 1}, ${show(token)}, asks. ${kept} In layer ${layer}, ${who} ${gives} ${first}.`;
}
