/** The same matrices cut into 1, 2, 3 or 6 heads; their shares of Y added one by one. Chapter 08. */
import {
  attend_by_head,
  multi_head_attention,
  output_projection,
  projections,
  split_heads,
} from "./attention.mjs";
import { choice, html, matrix, number, slider, summary } from "./parts.mjs";

export default function (stage, { words, X, W_Q, W_K, W_V, W_O, counts }) {
  const wide = projections(X, W_Q, W_K, W_V);
  const body = html("div");
  const { node: says, say } = summary();

  const cut = (h) => {
    const [H, A] = attend_by_head(...wide, h);
    const Y = multi_head_attention(X, W_Q, W_K, W_V, W_O, h);
    const width = W_O.length / h;
    const shares = split_heads(H, h).map((head, i) =>
      output_projection(head, W_O.slice(i * width, (i + 1) * width)),
    );
    const owners = H[0].map((_, column) => String(Math.floor(column / width) + 1));
    const sum = matrix(
      "Y",
      "sum of the shares added",
      words,
      W_O[0].map((_, c) => String(c + 1)),
    );

    const add = (count) => {
      const partial = Y.map((row, t) =>
        row.map((_, c) => shares.slice(0, count).reduce((total, share) => total + share[t][c], 0)),
      );
      const gap = Math.max(...Y.flatMap((row, t) => row.map((y, c) => Math.abs(y - partial[t][c]))));
      sum.draw(partial);
      const verdict =
        gap < 1e-9 ? "It is Concat(H) W_O." : `It is off Concat(H) W_O by up to ${number(gap)}.`;
      say(
        `${h === 1 ? "One head" : `${h} heads`} of width ${width}; ${count} of ${h} shares added. ${verdict}`,
      );
    };
    const label = { min: 0, max: h, step: 1, value: h, shown: (count) => `${count} of ${h}` };
    body.replaceChildren(
      row(
        byHead("Q", "Q, columns by head", words, owners, wide[0]),
        byHead("O", "Concat(H), columns by head", words, owners, H),
      ),
      row(...A.map((a, i) => drawn(matrix("A", `A of head ${i + 1}`, words, words), a))),
      slider("shares added", "shares added", label, add),
      row(
        sum.node,
        drawn(
          matrix(
            "Y",
            "Y = Concat(H) W_O",
            words,
            W_O[0].map((_, c) => String(c + 1)),
          ),
          Y,
        ),
      ),
    );
    add(h);
  };
  const heads = choice("Heads", Object.fromEntries(counts.map((h) => [h, String(h)])), counts[1], (h) =>
    cut(Number(h)),
  );
  stage.append(heads, body, says);
  cut(counts[1]);
}

const row = (...nodes) => html("div", { class: "widget-row" }, ...nodes);

function drawn(table, M) {
  table.draw(M);
  return table.node;
}

/** A wide matrix with a line where one head's columns end and the next one's begin. */
function byHead(role, caption, rows, owners, M) {
  const table = matrix(role, caption, rows, owners);
  for (const cells of table.cells)
    cells.forEach((cell, c) => cell.classList.toggle("cut", c > 0 && owners[c] !== owners[c - 1]));
  return drawn(table, M);
}
