/** The whole formula: choose a number and see the row and the column that made it. */
import { output_projection, projections, scaled_scores, softmax, weighted_sum } from "./attention.mjs";
import { html, matrix, short, summary } from "./parts.mjs";

const TITLES = {
  X: "X",
  W_Q: "W_Q",
  W_K: "W_K",
  W_V: "W_V",
  Q: "Q = X W_Q",
  K: "K = X W_K",
  V: "V = X W_V",
  S: "S = Q Kᵀ / √d_k",
  A: "A = softmax(S)",
  O: "O = A V",
  W_O: "W_O",
  Y: "Y = O W_O",
};
const GIVEN = ["X", "W_Q", "W_K", "W_V", "W_O"];
const LAYOUT = [["X"], ["W_Q", "W_K", "W_V"], ["Q", "K", "V"], ["S", "A"], ["O", "W_O"], ["Y"]];
const LEFT = { Q: "X", K: "X", V: "X", S: "Q", O: "A", Y: "O" }; // the row that made it …
const RIGHT = { Q: "W_Q", K: "W_K", V: "W_V", O: "V", Y: "W_O" }; // … and the column

export default function (stage, { words, columns, ...given }) {
  const M = Object.fromEntries(GIVEN.map((name) => [name, given[name].map((row) => [...row])]));
  compute(M);
  const names = { rows: rowNames(words, columns), columns };
  const tables = Object.fromEntries(
    Object.keys(TITLES).map((name) => [
      name,
      matrix(name, TITLES[name], names.rows[name], columns[name], short),
    ]),
  );
  const { node: says, say } = summary();
  const input = html("input", { type: "number", step: "any", id: "widget-given" });
  const label = html("label", { for: "widget-given" }, "");
  const setter = html("p", { class: "widget-given" }, label, input);
  let chosen = ["Y", 1, M.Y[0].length - 2];

  const show = ([name, i, j]) => {
    for (const { cells } of Object.values(tables))
      for (const cell of cells.flat()) cell.classList.remove("made", "maker");
    tables[name].cells[i][j].classList.add("made");
    for (const [maker, a, b] of makers(name, i, j, M)) tables[maker].cells[a][b].classList.add("maker");
    say(`${at(names, name, i, j)} ${story(name, i, j, M)}`);
  };
  const choose = (place) => {
    const [name, i, j] = place;
    for (const cell of tables[name].cells.flat()) cell.tabIndex = -1; // one stop for each matrix
    tables[name].cells[i][j].tabIndex = 0;
    chosen = place;
    setter.hidden = !GIVEN.includes(name);
    label.textContent = `Set ${at(names, name, i, j)} (Enter) to `;
    input.value = M[name][i][j];
    show(place);
  };
  const draw = () => Object.entries(tables).forEach(([name, table]) => table.draw(M[name]));
  input.addEventListener("input", () => {
    const [name, i, j] = chosen;
    if (!Number.isFinite(input.valueAsNumber)) // half-typed, or more than a computer's numbers go to, as 1e400
      return say(`${at(names, name, i, j)} stays ${short(M[name][i][j])}, until the field holds a number.`);
    M[name][i][j] = input.valueAsNumber;
    compute(M);
    draw();
    show(chosen);
  });
  // from a number that one may set, Enter leads into the field, and back
  const set = (name) => GIVEN.includes(name) && (input.focus(), input.select());
  input.addEventListener("keydown", ({ key }) => {
    const [name, i, j] = chosen;
    if (key === "Enter" || key === "Escape") tables[name].cells[i][j].focus();
  });
  for (const [name, table] of Object.entries(tables))
    listen(table, name, { choose, show, set, back: () => show(chosen) });

  stage.append(
    html("div", { class: "widget-sticky" }, says, setter),
    ...LAYOUT.map((line) => html("div", { class: "widget-row" }, ...line.map((name) => tables[name].node))),
  );
  draw();
  choose(chosen);
}

/** The other seven matrices, from X to Y. */
function compute(M) {
  [M.Q, M.K, M.V] = projections(M.X, M.W_Q, M.W_K, M.W_V);
  M.S = scaled_scores(M.Q, M.K);
  M.A = softmax(M.S);
  M.O = weighted_sum(M.A, M.V);
  M.Y = output_projection(M.O, M.W_O);
}

function rowNames(words, columns) {
  const words_down = Object.fromEntries(
    ["X", "Q", "K", "V", "S", "A", "O", "Y"].map((name) => [name, words]),
  );
  return { ...words_down, W_Q: columns.X, W_K: columns.X, W_V: columns.X, W_O: columns.O };
}

/** A table becomes a grid: arrows walk, the pointer previews, click and focus choose, Enter sets. */
function listen({ node, cells }, name, { choose, show, set, back }) {
  node.setAttribute("role", "grid");
  node.addEventListener("pointerleave", back);
  cells.forEach((row, i) =>
    row.forEach((cell, j) => {
      cell.setAttribute("role", "gridcell");
      cell.tabIndex = i + j ? -1 : 0;
      // not pointerenter: a page that the keyboard scrolls under a resting pointer enters cells, too
      cell.addEventListener("pointermove", () => show([name, i, j]));
      cell.addEventListener("focus", () => choose([name, i, j]));
      cell.addEventListener("keydown", (event) => {
        if (event.key === "Enter") set(name);
        const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[
          event.key
        ] ?? [0, 0];
        const next = cells[i + down]?.[j + right];
        if (!next || next === cell) return;
        event.preventDefault();
        next.focus();
      });
    }),
  );
}

const at = ({ rows, columns }, name, i, j) => `${name}[${rows[name][i]}, ${columns[name][j]}]`;

/** The cells that make cell (i, j), as [name, row, column]. */
function makers(name, i, j, M) {
  if (GIVEN.includes(name)) return [];
  const row = (matrix, k) => M[matrix][k].map((_, b) => [matrix, k, b]);
  const column = (matrix, k) => M[matrix].map((_, b) => [matrix, b, k]);
  if (name === "A") return row("S", i);
  if (name === "S") return [...row("Q", i), ...row("K", j)];
  return [...row(LEFT[name], i), ...column(RIGHT[name], j)];
}

/** How the number came about, with its numbers; "≈" where one of them is shown rounded. */
function story(name, i, j, M) {
  const y = M[name][i][j];
  if (GIVEN.includes(name)) return `is given: ${short(y)}.`;
  if (name === "A") {
    const exponentials = M.S[i].map((s) => `exp(${short(s)})`);
    return `= ${exponentials[j]} / (${exponentials.join(" + ")}) ≈ ${short(y)}.`;
  }
  const left = M[LEFT[name]][i];
  const right = name === "S" ? M.K[j] : M[RIGHT[name]].map((row) => row[j]);
  const pairs = left.map((a, b) => [a, right[b]]).filter(([a, b]) => a && b);
  const sum = pairs.map((pair) => pair.map(short).join(" · ")).join(" + ") || "nothing but zeros";
  const is = [y, ...pairs.flat()].every(isShort) ? "=" : "≈";
  return name === "S" ? `= (${sum}) / √${M.Q[0].length} ${is} ${short(y)}.` : `= ${sum} ${is} ${short(y)}.`;
}

const isShort = (x) => Math.abs(Number(short(x).replace("−", "-")) - x) <= 1e-11 * Math.max(1, Math.abs(x));
