/** Click a pair away, and see its row renormalise. Chapter 10. */
import { masked_scores, softmax } from "./attention.mjs";
import { button, html, matrix, number, paint, short, summary, thousandths } from "./parts.mjs";

export default function (stage, { S, rules }) {
  const names = S.map((_, i) => String(i + 1));
  let visible = S.map((row) => row.map(() => true));
  const most = Math.max(...S.flat().map(Math.exp));
  const exponentials = matrix("S", "exp(S): click to hide", names, names);
  const sums = matrix("S", "row sums", names, ["Z", "factor"], short);
  const weights = matrix("A", "A, rows renormalised", names, names, thousandths);
  const { node: says, say } = summary();

  const update = (i) => {
    const A = softmax(masked_scores(S, visible));
    const E = masked_scores(S, visible).map((row) => row.map(Math.exp));
    const Z = E.map(total);
    const grown = Z.map((z, k) => (z ? total(S[k].map(Math.exp)) / z : 0));
    toggles.forEach((row, k) =>
      row.forEach((toggle, j) => toggle.setAttribute("aria-pressed", !visible[k][j])),
    );
    weights.draw(A);
    sums.draw(Z.map((z, k) => [z, grown[k]]));
    say(inWords(i, visible[i], Z[i], grown[i]));
  };
  const toggles = exponentials.cells.map((row, i) =>
    row.map((cell, j) => {
      const toggle = button(number(Math.exp(S[i][j]), 0), () => {
        visible[i][j] = !visible[i][j];
        update(i);
      });
      toggle.setAttribute("aria-label", `${toggle.textContent}, hide key ${j + 1} from query ${i + 1}`);
      paint(cell, Math.exp(S[i][j]), most, "");
      cell.append(toggle);
      return toggle;
    }),
  );
  const presets = Object.entries(rules).map(([name, table]) =>
    button(name, () => {
      visible = table.map((row) => [...row]);
      update(visible.length - 1);
    }),
  );
  stage.append(
    html("div", { class: "widget-buttons" }, ...presets),
    html("div", { class: "widget-row" }, exponentials.node, sums.node, weights.node),
    says,
  );
  update(0);
}

const total = (row) => row.reduce((sum, x) => sum + x, 0);

function inWords(i, row, Z, grown) {
  const seen = row.flatMap((may, j) => (may ? [j + 1] : []));
  if (!seen.length)
    return `Query ${i + 1} may see no key: there is nothing to divide by, and all its weights are zero.`;
  if (seen.length === row.length) return `Query ${i + 1} sees every key; its row sum Z is ${number(Z, 0)}.`;
  const keys = seen.length === 1 ? "key" : "keys";
  const times = `each weight left is ${number(grown)} times what it was`;
  return `Query ${i + 1} sees ${keys} ${seen.join(", ")}. Its row sum is now ${number(Z, 0)}, so ${times}.`;
}
