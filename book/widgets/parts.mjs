/** What widgets are made of: matrices, bars, sliders, choices, a plane with points to drag. */

/** An HTML element with attributes and children: `html("p", { class: "says" }, "text", node)`. */
export const html = (name, attributes = {}, ...children) =>
  fill(document.createElement(name), attributes, children);

const SVG = "http://www.w3.org/2000/svg";
export const svg = (name, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, name), attributes, children);

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** "−0.50": a minus sign, and no "−0.00". */
export function number(x, decimals = 2) {
  const text = x.toFixed(decimals);
  return (Number(text) === 0 ? (0).toFixed(decimals) : text).replace("-", "−");
}

const WIDE = 1e7; // so many digits have no room in a cell

/** "2.77", "7" and "1.2e+9": two decimals at most. */
export function short(x) {
  const [digits, power] = (Math.abs(x) < WIDE ? number(x) : x.toExponential(2).replace("-", "−")).split("e");
  return digits.replace(/\.?0+$/, "") + (power ? `e${power}` : "");
}
export const thousandths = (x) => number(x, 3);

export const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

/** d_k as a reader sees it; `aria-label` says it to one who listens. */
export const indexed = (letter, index) => html("span", {}, html("i", {}, letter), html("sub", {}, index));

/** What the widget says in words, for eyes and, once it has come to rest, for ears. */
export function summary() {
  const node = html("p", { class: "widget-says", "aria-live": "polite" });
  let waiting;
  const say = (text) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => (node.textContent = text), node.textContent ? 200 : 0);
  };
  return { node, say };
}

/**
 * A small matrix with its numbers in its cells, in the colour of its role; negative ones grey, as in
 * the book's figures. `draw(M)` writes them, each as `written` says.
 */
export function matrix(role, caption, rows, columns, written = number) {
  const head = html("tr", {}, html("td"), ...columns.map((name) => html("th", { scope: "col" }, name)));
  const cells = rows.map(() => columns.map(() => html("td")));
  const body = rows.map((name, i) => html("tr", {}, html("th", { scope: "row" }, name), ...cells[i]));
  const node = html(
    "table",
    { class: "widget-matrix", "data-role": role, "data-name": caption },
    html("caption", {}, caption),
    html("thead", {}, head),
    html("tbody", {}, ...body),
  );
  const draw = (M) => {
    const most = Math.max(...M.flat().map(Math.abs)) || 1;
    M.forEach((row, i) => row.forEach((x, j) => paint(cells[i][j], x, most, written(x))));
  };
  return { node, cells, draw };
}

/** A cell as dark as its number is large beside the largest, `most`. */
export function paint(cell, x, most, text) {
  cell.style.setProperty("--share", Math.abs(x) / most);
  cell.classList.toggle("negative", x < 0);
  cell.textContent = text;
}

/** A row of bars between 0 and 1, in the colour of a role; the summary says what they show. */
export function bars(role, count) {
  const all = Array.from({ length: count }, () => html("span"));
  const node = html("div", { class: "widget-bars", "data-role": role, "aria-hidden": "true" }, ...all);
  const draw = (heights) => heights.forEach((height, j) => all[j].style.setProperty("--height", height));
  return { node, draw };
}

/** A slider with its name and, behind it, its value as `shown` writes it. */
export function slider(name, label, { min, max, step, value, shown }, changed) {
  const input = html("input", { type: "range", name, min, max, step, value, "aria-label": name });
  const output = html("output");
  const show = () => {
    const text = shown(input.valueAsNumber);
    output.textContent = text;
    input.setAttribute("aria-valuetext", text);
  };
  input.addEventListener("input", () => {
    show();
    changed(input.valueAsNumber);
  });
  show();
  return html("label", { class: "widget-slider" }, html("span", {}, label), input, output);
}

let choices = 0; // radio buttons of one name exclude each other

/** One of a few, as radio buttons: `options` maps a value to its label. */
export function choice(legend, options, chosen, changed) {
  const name = `choice-${++choices}`;
  const labels = Object.entries(options).map(([value, label]) => {
    const input = html("input", { type: "radio", name, value });
    input.checked = value === String(chosen);
    input.addEventListener("change", () => changed(value));
    return html("label", {}, input, label);
  });
  return html("fieldset", { class: "widget-choice" }, html("legend", {}, legend), ...labels);
}

export function button(label, pressed) {
  const node = html("button", { type: "button" }, label);
  node.addEventListener("click", pressed);
  return node;
}

const SIDE = 240; // of a plane, in its own units

/** A plane from −… to …: arrows, dots, polygons, and handles that pointer and arrow keys move. */
export class Plane {
  constructor(title, [low, high]) {
    this.low = low;
    this.high = high;
    const [x, y] = this.at([0, 0]);
    this.drawing = svg(
      "svg",
      { viewBox: `0 0 ${SIDE} ${SIDE}`, role: "group", "aria-label": title },
      svg("path", { class: "axes", d: `M0 ${y}H${SIDE}M${x} 0V${SIDE}` }),
    );
    const caption = html("span", { class: "title", "aria-hidden": "true" }, title);
    this.node = html("div", { class: "widget-plane" }, caption, this.drawing);
    this.drawing.addEventListener("click", (event) => {
      if (event.target.closest("[tabindex]")) return; // a handle was meant
      this.lastHandle?.move(this.under(event)); // a tap moves the point that was moved last
    });
  }

  /** The place on the drawing of a point (x, y), and back. */
  at([x, y]) {
    const unit = SIDE / (this.high - this.low);
    return [(x - this.low) * unit, (this.high - y) * unit];
  }

  under({ clientX, clientY }) {
    const box = this.drawing.getBoundingClientRect();
    const unit = (this.high - this.low) / box.width;
    return [this.low + (clientX - box.left) * unit, this.high - (clientY - box.top) * unit];
  }

  arrow(role, label) {
    const line = svg("line", { class: "arrow" });
    const tip = svg("path", { class: "tip", d: "M0 0L-9 -4V4Z" });
    const text = svg("text", { class: "label" }, label);
    this.drawing.append(svg("g", { "data-role": role }, line, tip, text));
    const [x1, y1] = this.at([0, 0]);
    return (point) => {
      const [x2, y2] = this.at(point);
      const angle = (Math.atan2(y2 - y1, x2 - x1) * 180) / Math.PI;
      fill(line, { x1, y1, x2, y2 }, []);
      fill(tip, { transform: `translate(${x2} ${y2}) rotate(${angle})` }, []);
      setLabel(text, x2, y2, point);
    };
  }

  dot(role, label) {
    const circle = svg("circle", { class: "dot", r: 6 });
    const text = svg("text", { class: "label" }, label);
    this.drawing.append(svg("g", { "data-role": role }, circle, text));
    return (point) => {
      const [cx, cy] = this.at(point);
      fill(circle, { cx, cy }, []);
      setLabel(text, cx, cy, [1, 1]);
    };
  }

  polygon() {
    const line = svg("polygon", { class: "hull" });
    this.drawing.append(line);
    return (points) => line.setAttribute("points", points.map((point) => this.at(point).join()).join(" "));
  }

  /** A point to move within ±limits; `moved(point)` is told where it went, in tenths. */
  handle(role, label, point, [least, most], moved) {
    const node = svg(
      "g",
      { class: "handle", "data-role": role, tabindex: 0, role: "slider", "aria-label": label },
      svg("circle", { class: "reach", r: 18 }),
      svg("rect", { class: "grip", x: -6, y: -6, width: 12, height: 12 }),
    );
    this.drawing.append(node);
    const move = (wanted) => {
      point = wanted.map((x) => Math.round(clamp(x, least, most) * 10) / 10);
      place();
      moved(point);
    };
    const place = () => {
      const [x, y] = point;
      fill(
        node,
        { transform: `translate(${this.at(point)})`, "aria-valuemin": least, "aria-valuemax": most },
        [],
      );
      fill(node, { "aria-valuenow": x, "aria-valuetext": `${number(x, 1)}, ${number(y, 1)}` }, []);
    };
    this.#listen(node, () => point, move);
    place();
    this.lastHandle ??= { move };
  }

  #listen(node, where, move) {
    const mine = { move };
    node.addEventListener("focus", () => (this.lastHandle = mine));
    node.addEventListener("pointerdown", (event) => {
      this.lastHandle = mine;
      node.setPointerCapture(event.pointerId);
    });
    node.addEventListener("pointermove", (event) => {
      if (node.hasPointerCapture(event.pointerId)) move(this.under(event));
    });
    node.addEventListener("keydown", (event) => {
      const step = STEPS[event.key];
      if (!step) return;
      event.preventDefault(); // the page stays where it is
      const length = event.shiftKey ? 1 : 0.1;
      move(where().map((x, axis) => x + step[axis] * length));
    });
  }
}

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

/** Beside the point, away from the origin, and inside the drawing. */
function setLabel(text, x, y, [right, up]) {
  const width = text.getComputedTextLength();
  const [anchor, from] = right < 0 ? ["end", x - 10] : ["start", x + 10];
  const [least, most] = right < 0 ? [width + 4, SIDE - 4] : [4, SIDE - 4 - width];
  const below = clamp(y + (up < 0 ? 24 : -12), 18, SIDE - 6);
  fill(text, { x: clamp(from, least, most), y: below, "text-anchor": anchor }, []);
}
