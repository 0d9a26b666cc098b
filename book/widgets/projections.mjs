/** Drag a word: its query, key and value follow, and so do the scores. Chapter 02. */
import { dot_scores, projections } from "./attention.mjs";
import { Plane, choice, html, matrix, number, summary } from "./parts.mjs";

const DOES = { X: "are", Q: "ask for", K: "offer", V: "carry" };
const BOX = [-4.2, 4.2]; // holds every value of words within ±2

export default function (stage, { words, X, W_Q, W_K, W_V }) {
  const tokens = X.map((row) => [...row]);
  let keys = W_K;
  const planes = Object.fromEntries(
    Object.entries(DOES).map(([role, does]) => [role, new Plane(`${role}: what they ${does}`, BOX)]),
  );
  const arrows = Object.fromEntries(
    Object.keys(DOES).map((role) => [role, words.map((word) => planes[role].arrow(role, word))]),
  );
  const scores = matrix("S", "S = Q Kᵀ", words, words);
  const { node: says, say } = summary();

  const update = () => {
    const [Q, K, V] = projections(tokens, W_Q, keys, W_V);
    const S = dot_scores(Q, K);
    for (const [role, rows] of Object.entries({ X: tokens, Q, K, V }))
      rows.forEach((row, i) => arrows[role][i](row));
    scores.draw(S);
    say(
      words
        .map((word, i) => `“${word}” scores itself ${number(S[i][i])}; ${looksAt(words, S[i])}.`)
        .join(" "),
    );
  };
  const views = choice(
    "The queries and keys are",
    { two: "two views", one: "one view (W_K = W_Q)" },
    "two",
    (chosen) => {
      keys = chosen === "two" ? W_K : W_Q;
      update();
    },
  );
  words.forEach((word, i) =>
    planes.X.handle("X", `token ${word}`, tokens[i], [-2, 2], (point) => {
      tokens[i] = point;
      update();
    }),
  );
  stage.append(
    html("div", { class: "widget-planes" }, ...Object.values(planes).map((plane) => plane.node)),
    html("div", { class: "widget-row" }, views, scores.node),
    says,
  );
  update();
}

function looksAt(words, row) {
  const best = Math.max(...row);
  const winners = words.filter((_, j) => Math.abs(row[j] - best) < 1e-9).map((word) => `“${word}”`);
  return winners.length === words.length
    ? "it cannot tell the words apart"
    : `it scores ${winners.join(" and ")} highest`;
}
