/** The front door: a number of each word to move, in the page as it stands (book/_extensions/door.py). */
import { projections, scaled_scores, softmax, weighted_sum } from "./attention.mjs";
import { number, paint } from "./parts.mjs";

const CATS = 1; // of whom the sentence tells
const tenths = (x) => number(x, 1).replace(/\.0$/, "");

export default function (stage, { words, X: start, W_Q, W_K, W_V, world, moves }) {
  const X = start.map((row) => [...row]);
  const says = stage.querySelector(".widget-says");
  let before = made(X, W_Q, W_K, W_V);

  const show = (M) => {
    for (const [name, written] of [["A", number], ["V", tenths], ["O", tenths]]) {
      const rows = stage.querySelectorAll(`[data-name="${name}"] tbody tr`);
      const most = Math.max(...M[name].flat().map(Math.abs)) || 1;
      M[name].forEach((row, i) => row.forEach((x, j) => paint(rows[i].cells[j + 1], x, most, written(x))));
    }
    for (const letter of stage.querySelectorAll("[data-moves]"))
      letter.classList.toggle("moved", differ(M, before, letter.dataset.moves));
  };
  moves.forEach(({ row, column }, i) => {
    const input = stage.querySelectorAll("input")[i];
    input.addEventListener("input", () => {
      X[row][column] = input.valueAsNumber;
      input.nextElementSibling.textContent = tenths(input.valueAsNumber);
      const M = made(X, W_Q, W_K, W_V);
      show(M);
      says.textContent = story(M, before, words, world);
      before = M;
    });
  });
}

function made(X, W_Q, W_K, W_V) {
  const [Q, K, V] = projections(X, W_Q, W_K, W_V);
  const A = softmax(scaled_scores(Q, K));
  return { Q, K, V, A, O: weighted_sum(A, V) };
}

const differ = (M, before, name) => String(M[name]) !== String(before[name]);

/** Which letters moved, and what cats makes of it. */
function story(M, before, words, world) {
  const moved = ["Q", "K", "V"].filter((name) => differ(M, before, name));
  const weights = differ(M, before, "A");
  const most = M.A[CATS].indexOf(Math.max(...M.A[CATS]));
  const whom = most === CATS ? "itself" : `“${words[most]}”`;
  const share = `${Math.round(100 * M.A[CATS][most])} % of its weight to ${whom}`;
  const home = world.map((name, j) => `${name} ${tenths(M.O[CATS][j])}`).join(" and ");
  const why = `${moved.join(" and ")} moved${weights ? "" : ", no weight did"}`;
  return `${why}: “${words[CATS]}” ${weights ? "now" : "still"} gives ${share}, and takes home ${home}.`;
}
