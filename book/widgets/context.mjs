/** Three values in the plane, one query's scores for them, and where its output lies. Chapter 06. */
import { softmax, weighted_sum } from "./attention.mjs";
import { Plane, html, matrix, number, slider, summary, thousandths } from "./parts.mjs";

export default function (stage, { A, V }) {
  const values = V.map((row) => [...row]);
  // One, two and five eighths are softmax(ln 1, ln 2, ln 5); the sliders move what is inside the logarithms.
  const inside = A[0].map((a) => Math.round(a / Math.min(...A[0])));
  const plane = new Plane("values and output", [-2, 10]);
  const band = plane.polygon();
  const output = plane.dot("O", "o");
  const weights = matrix("A", "A", ["query"], ["v₁", "v₂", "v₃"], thousandths);
  const outputs = matrix("O", "O = A V", ["query"], ["feature 1", "feature 2"]);
  const { node: says, say } = summary();

  const update = () => {
    const a = softmax([inside.map(Math.log)]);
    const O = weighted_sum(a, values);
    weights.draw(a);
    outputs.draw(O);
    output(O[0]);
    band(values);
    const where = inside_hull(O[0], values) ? "inside the band, as ever" : "outside the band";
    const terms = a[0].map((x, j) => `${number(x, 3)} · (${values[j].map((v) => number(v, 1)).join(", ")})`);
    say(`o = ${terms.join(" + ")} = (${O[0].map((x) => number(x)).join(", ")}): ${where}.`);
  };
  values.forEach((value, j) =>
    plane.handle("V", `value ${j + 1}`, value, [-2, 10], (point) => {
      values[j] = point;
      update();
    }),
  );
  const scores = inside.map((x, j) =>
    slider(
      `score for value ${j + 1}`,
      `score ${j + 1}`,
      { min: 1, max: 20, step: 1, value: x, shown: (k) => `ln ${k}` },
      (k) => {
        inside[j] = k;
        update();
      },
    ),
  );
  stage.append(
    html(
      "div",
      { class: "widget-row" },
      html("div", { class: "widget-planes one" }, plane.node),
      html("div", { class: "widget-beside" }, ...scores, weights.node, outputs.node),
    ),
    says,
  );
  update();
}

/** Whether a point lies in the triangle: never on different sides of two of its edges. */
function inside_hull([x, y], corners) {
  const sides = corners.map(([x1, y1], j) => {
    const [x2, y2] = corners[(j + 1) % corners.length];
    return (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1);
  });
  return sides.every((side) => side <= 1e-9) || sides.every((side) => side >= -1e-9);
}
