/** Questions × libraries: what everybody answered, and what changes between two of them. Chapter 18. */
import { clamp, html, summary } from "./parts.mjs";

const [NONE, DEPENDS, REFUSED, OTHER, SILENT] = [-1, -2, -3, -4, -5];
const LOOK = {
  0: ["", "as this package, or as most"],
  1: ["2", "a second reading"],
  2: ["3", "a third"],
  3: ["4", "a fourth, or beyond"],
  [DEPENDS]: ["~", "depends on shape, dtype or flag"],
  [REFUSED]: ["×", "refuses"],
  [OTHER]: ["?", "none of these, or no answer"],
  [NONE]: ["", "has no such argument"],
};
const WORDS = { [REFUSED]: "refused", [OTHER]: "none of these", [SILENT]: "no answer" };
const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

export default function (stage, data) {
  const { libraries, doors, groups, questions, answers } = data;
  const title = (d) => `${libraries[doors[d][0]].title}, ${doors[d][1]}`;
  const matters = Object.entries(groups).flatMap(([matter, count]) => Array(count).fill(matter));
  const every = doors.map((_, d) => d);
  const first = every.filter((d) => doors.findIndex(([library]) => library === doors[d][0]) === d);
  const named = (q, r) => WORDS[r] ?? questions[q].readings[r];
  const code = (d, q) => {
    const said = new Set((answers[d][q] ?? []).map(([, reading]) => reading));
    return said.size > 1 ? DEPENDS : said.size ? [...said][0] : NONE;
  };
  const differ = (q) => code(+from.value, q) !== code(+to.value, q);
  const asked = (q) => [from, to].every((menu) => code(+menu.value, q) !== NONE);

  const shown = menu("columns", [
    ["first", "each library's first door"],
    ["all", "every door"],
    ...libraries.map((library, k) => [k, library.title]),
  ]);
  const matter = menu("rows", [["", "all questions"], ...Object.keys(groups).map((name) => [name, name])]);
  const order = menu("order", [
    ["", "as in the chapter"],
    ["rows", "questions with most readings first"],
    ["columns", "most like this package first"],
  ]);
  const listed = every.map((d) => [d, title(d)]);
  const from = menu("from", [["", "–"], ...listed]);
  const to = menu("to", [["", "–"], ...listed]);
  const table = html("tbody");
  const head = html("thead");
  const changes = html("div");
  const answer = html("div", { class: "widget-answer" });
  const { node: says, say } = summary();
  let cells = [];
  let chosen;

  const choose = (i, j, focus) => {
    if (!cells.length || !cells[0].length) return say("Nothing is left to show.");
    [i, j] = [clamp(i, 0, cells.length - 1), clamp(j, 0, cells[0].length - 1)];
    if (chosen) chosen.tabIndex = -1;
    chosen = cells[i][j].node;
    chosen.tabIndex = 0;
    for (const row of cells) for (const { node } of row) node.classList.toggle("made", node === chosen);
    if (focus) chosen.focus();
    const { q, d } = cells[i][j];
    const { title: name, version, date } = libraries[doors[d][0]];
    const said = answers[d][q];
    const { asks, why } = questions[q];
    const reading = code(d, q);
    const short = reading === DEPENDS ? "depends" : (named(q, reading) ?? "has no such argument");
    say(`${name} ${version}, ${doors[d][1]}: ${short}.`);
    const alike = new Map(); // variants of one reading and one call in one line
    for (const [v, r, numbers, c] of said ?? []) {
      const key = `${r} ${c}`;
      if (!alike.has(key)) alike.set(key, [[], named(q, r), numbers, data.calls[d][c]]);
      alike.get(key)[0].push(questions[q].variants[v] || "as asked");
    }
    answer.replaceChildren(
      html("p", {}, html("strong", {}, asks), ` ${why}`),
      ...[...alike.values()].map(([variants, reading, numbers, call]) =>
        html("p", {}, `${variants.join(", ")}: ${reading}, ${numbers} `, html("code", {}, call)),
      ),
      html("p", {}, said ? `Asked on ${date}.` : ""),
    );
  };

  const columns = () => {
    const two = [from, to].map((menu) => menu.value).filter((value) => value !== "");
    if (two.length === 2) return two.map(Number);
    const some = { first, all: every }[shown.value] ?? every.filter((d) => doors[d][0] === +shown.value);
    if (order.value !== "columns") return some;
    const ours = every.find((d) => libraries[doors[d][0]].title === "this package");
    const alike = (d) => {
      const both = questions.map((_, q) => q).filter((q) => code(d, q) !== NONE && code(ours, q) !== NONE);
      return both.filter((q) => code(d, q) === code(ours, q)).length / (both.length || 1);
    };
    return [...some].sort((a, b) => alike(b) - alike(a));
  };
  const rows = (across) => {
    let all = questions.map((_, q) => q).filter((q) => !matter.value || matters[q] === matter.value);
    if (from.value && to.value) all = all.filter((q) => asked(q) && differ(q));
    const kinds = (q) => new Set(across.map((d) => code(d, q)).filter((r) => r !== NONE)).size;
    return order.value === "rows" ? all.sort((a, b) => kinds(b) - kinds(a)) : all;
  };
  const draw = () => {
    const across = columns();
    const one = shown.value === "first" && !(from.value && to.value);
    head.replaceChildren(
      html(
        "tr",
        {},
        html("td"),
        ...across.map((d) => html("th", { scope: "col" }, one ? libraries[doors[d][0]].title : title(d))),
      ),
    );
    cells = rows(across).map((q, i) => across.map((d, j) => ({ q, d, node: cell(q, d, i, j) })));
    table.replaceChildren(
      ...cells.map((row) =>
        html(
          "tr",
          {},
          html("th", { scope: "row" }, questions[row[0].q].name),
          ...row.map(({ node }) => node),
        ),
      ),
    );
    chosen = undefined;
    move(data, from.value, to.value, { title, named, changes });
    choose(0, 0);
  };
  const cell = (q, d, i, j) => {
    const place = Math.max(Math.min(code(d, q), 3), OTHER);
    const label = `${LOOK[place][0]} ${questions[q].name}, ${title(d)}: ${LOOK[place][1]}`.trim();
    const attributes = { role: "gridcell", tabindex: -1, "data-place": place, "aria-label": label };
    const node = html("td", attributes, LOOK[place][0]);
    node.addEventListener("click", () => choose(i, j, true));
    node.addEventListener("keydown", (event) => {
      const step = STEPS[event.key];
      if (!step) return;
      event.preventDefault(); // the page stays where it is
      choose(i + step[0], j + step[1], true);
    });
    return node;
  };

  for (const control of [shown, matter, order, from, to]) control.addEventListener("change", draw);
  stage.append(
    html("div", { class: "widget-row" }, label("Show ", shown), label("of ", matter), label("in order ", order)),
    html("div", { class: "widget-row" }, label("Moving from ", from), label("to ", to)),
    html(
      "div",
      { class: "widget-scroll" },
      html(
        "table",
        { class: "widget-matrix widget-readings", role: "grid", "data-name": "readings" },
        html("caption", {}, "Questions down, libraries across"),
        head,
        table,
      ),
    ),
    html(
      "ul",
      { class: "widget-legend" },
      ...Object.entries(LOOK).map(([place, [mark, words]]) =>
        html("li", {}, html("span", { "data-place": place }, mark), ` ${words}`),
      ),
    ),
    says,
    answer,
    changes,
  );
  draw();
}

/** The changes from one door to another, each with the line that undoes it: `moving` of selfattention.dialects. */
function move({ questions, answers, lines, moves }, from, to, { title, named, changes }) {
  if (!from || !to) return changes.replaceChildren();
  const booleans = questions.findIndex(({ name }) => name === "mask-of-booleans");
  const found = questions.flatMap((_, q) => {
    for (const [v, before, was] of answers[from][q] ?? []) {
      const other = (answers[to][q] ?? []).find(([variant]) => variant === v);
      if (!other || other[1] === before) continue;
      const all = new Set((answers[to][booleans] ?? []).map(([, reading]) => reading));
      const key = [q, v, before, other[1], all.size ? [...all][0] : NONE].join(".");
      return [[q, v, before, was, other[1], other[2], lines[moves[key]] ?? "none known"]];
    }
    return [];
  });
  const row = ([q, v, before, was, after, is, line]) =>
    html(
      "tr",
      {},
      html("th", { scope: "row" }, `${questions[q].name} ${questions[q].variants[v]}`.trim()),
      html("td", {}, `${named(q, before)}: ${was}`),
      html("td", {}, `${named(q, after)}: ${is}`),
      html("td", {}, html("code", {}, line)),
    );
  changes.replaceChildren(
    html(
      "div",
      { class: "widget-scroll", tabindex: 0, role: "region", "aria-label": "What changes" },
      html(
        "table",
        { class: "widget-matrix widget-changes", "data-name": "changes" },
        html("caption", {}, `${found.length} changes from ${title(from)} to ${title(to)}`),
        html(
          "thead",
          {},
          html("tr", {}, ...["question", "was", "is", "line"].map((name) => html("th", { scope: "col" }, name))),
        ),
        html("tbody", {}, ...found.map(row)),
      ),
    ),
  );
}

function menu(name, options) {
  const choices = options.map(([value, text]) => html("option", { value }, text));
  return html("select", { name }, ...choices);
}

const label = (text, control) => html("label", { class: "widget-menu" }, text, control);
