/** A transformer that reads digits: whom a patch attends to, layer by layer, and what deletion says. Chapter 17. */
import { button, choice, html, matrix, number, summary } from "./parts.mjs";

const SIDE = 4; // patches in a row
const MOVES = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -SIDE, ArrowDown: SIDE };
const FOUR = [1, 2, 3, 4];
const percent = (x) => number(x / 10, 0);

export default function (stage, { pictures }) {
  const chosen = { picture: 0, token: 0 };
  const squares = Array.from({ length: SIDE ** 2 }, (_, i) => square(i, () => ask(i + 1)));
  const first = button("class token", () => ask(0));
  const layers = pictures[0].A.map((_, l) => `layer ${l + 1}, attention in %`);
  const ways = { drop: "lost in %, key hidden", blank: "lost in %, pixels blank" };
  const maps = [...layers, ...Object.values(ways)].map((caption, k) =>
    matrix(k < layers.length ? "A" : "O", caption, FOUR, FOUR, percent),
  );
  const { node: says, say } = summary();

  const update = () => {
    const { A, pixels, says: answer, label, p, ...lost } = pictures[chosen.picture];
    const seen = A.map((rows) => rows[chosen.token].slice(1));
    const all = [...seen, ...Object.keys(ways).map((way) => lost[way])];
    maps.forEach(({ draw }, k) => draw(inRows(all[k])));
    squares.forEach(({ node, paint }, i) => {
      paint(pixels, i);
      node.setAttribute("aria-pressed", chosen.token === i + 1);
    });
    first.setAttribute("aria-pressed", chosen.token === 0);
    const who = chosen.token ? `The patch in ${place(chosen.token - 1)}` : "The class token";
    const most = seen.map((row, l) => `in layer ${l + 1} most, ${percent(Math.max(...row))} %, to ${best(row)}`);
    const dear = Object.keys(ways).map((way) => best(lost[way]));
    say(
      `The net reads ${answer}, p = ${number(p / 1000)}; it is ${label === answer ? "right" : `a ${label}`}. ` +
        `${who} gives ${most.join(", ")}. The answer loses most without the key of ${dear[0]}, ` +
        `and without the pixels of ${dear[1]}.`,
    );
  };
  const ask = (token) => {
    chosen.token = token;
    update();
  };
  const grid = html("div", { class: "widget-squares", role: "group", "aria-label": "patches of the digit" });
  grid.append(...squares.map(({ node }) => node));
  grid.addEventListener("keydown", (event) => {
    const at = squares.findIndex(({ node }) => node === event.target);
    const to = squares[at + MOVES[event.key]];
    if (!to) return;
    event.preventDefault(); // the page stays where it is
    to.node.focus();
  });
  const names = pictures.map(({ label }) => label);
  const open = (i) => {
    chosen.picture = Number(i);
    update();
  };
  stage.append(
    choice("digit", { ...names }, 0, open),
    html(
      "div",
      { class: "widget-row" },
      html("div", {}, grid, first),
      ...maps.map(({ node }) => node),
    ),
    says,
  );
  update();
}

const inRows = (numbers) => FOUR.map((_, y) => numbers.slice(y * SIDE, (y + 1) * SIDE));
const place = (i) => `row ${Math.floor(i / SIDE) + 1}, column ${(i % SIDE) + 1}`;
const best = (numbers) => place(numbers.indexOf(Math.max(...numbers)));

/** A patch as a button: four pixels, black where there is ink. */
function square(i, pressed) {
  const cells = Array.from({ length: 4 }, () => html("span"));
  const node = button("", pressed);
  node.setAttribute("aria-label", `patch in ${place(i)}`);
  node.append(...cells);
  const [y, x] = [Math.floor(i / SIDE), i % SIDE];
  const paint = (pixels) =>
    cells.forEach((cell, k) => {
      const ink = pixels[2 * y + Math.floor(k / 2)][2 * x + (k % 2)] / 16;
      cell.style.background = `rgb(${Array(3).fill(Math.round(255 * (1 - ink)))})`;
    });
  return { node, paint };
}
