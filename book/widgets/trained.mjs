/** A head that learned to align atoms: from an atom of the product to where it came from. Chapter 09. */
import { button, html, number, summary } from "./parts.mjs";

export default function (stage, { layer, head, reactions }) {
  const names = reactions.map(({ name }) => name);
  const menu = html(
    "select",
    { name: "reaction" },
    ...names.map((name, i) => html("option", { value: i }, name)),
  );
  const body = html("div");
  const { node: says, say } = summary();
  const open = (i) => body.replaceChildren(...reaction(reactions[i], say));
  menu.addEventListener("change", () => open(Number(menu.value)));
  stage.append(
    html("label", { class: "widget-menu" }, `Layer ${layer}, head ${head}, on `, menu),
    body,
    says,
  );
  open(0);
}

function reaction({ tokens, reactants, products, right, A }, say) {
  const arrow = tokens.indexOf(">>");
  const cells = tokens.map((token, i) =>
    html("span", reactants.includes(i) ? { class: "atom", "data-token": i } : {}, token),
  );
  const points = A.map((row) => reactants.reduce((best, r) => (row[r] > row[best] ? r : best)));
  const found = points.filter((r, p) => right[p].includes(r)).length;
  const table = html("tbody");

  const choose = (p) => {
    atoms.forEach((atom, k) => atom.setAttribute("aria-pressed", k === p));
    reactants.forEach((r) => {
      cells[r].style.setProperty("--share", A[p][r]);
      cells[r].classList.toggle("best", r === points[p]);
    });
    const order = [...reactants].sort((a, b) => A[p][b] - A[p][a]).slice(0, 3);
    table.replaceChildren(
      ...order.map((r) =>
        html(
          "tr",
          {},
          html("th", { scope: "row" }, `${tokens[r]}, token ${r}`),
          html("td", {}, number(A[p][r], 3)),
          html("td", {}, right[p].includes(r) ? "right" : "wrong"),
        ),
      ),
    );
    const verdict = right[p].includes(points[p]) ? "which is right" : "which is wrong";
    say(
      `${tokens[products[p]]}, token ${products[p]}, looks most at ${tokens[points[p]]}, token ${points[p]}, ${verdict}. ` +
        `Of ${products.length} atoms of the product, ${found} look at a right one.`,
    );
  };
  const atoms = products.map((place, p) => {
    const atom = button(tokens[place], () => choose(p));
    atom.setAttribute("aria-label", `${tokens[place]}, token ${place}`);
    return atom;
  });
  products.forEach((place, p) => cells[place].replaceChildren(atoms[p]));
  choose(0);
  return [
    line("Reactants, the keys", "K", cells.slice(1, arrow)),
    line("Product, the queries: choose an atom", "Q", cells.slice(arrow + 1, -1)),
    html(
      "table",
      { class: "widget-matrix", "data-name": "best", "data-role": "A" },
      html("caption", {}, "Its three largest weights on atoms"),
      html(
        "thead",
        {},
        html(
          "tr",
          {},
          ...["atom", "weight", "by the known map"].map((name) => html("th", { scope: "col" }, name)),
        ),
      ),
      table,
    ),
  ];
}

const line = (title, role, cells) =>
  html(
    "div",
    { class: "widget-smiles", "data-role": role, role: "group", "aria-label": title },
    html("span", { class: "title" }, title),
    html("span", { class: "tokens" }, ...cells),
  );
