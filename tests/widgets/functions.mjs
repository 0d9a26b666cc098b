/* node functions.mjs < [{function, arguments}] : what the widgets' functions answer, as JSON. */

import { readFileSync } from "node:fs";
import * as attention from "../../book/widgets/attention.mjs";

const readable = (_, value) => (Number.isFinite(value) || typeof value !== "number" ? value : String(value));
const revived = (_, value) => (value === "-Infinity" ? -Infinity : value);
const cases = JSON.parse(readFileSync(0, "utf8"), revived);
const answers = cases.map((one) => attention[one.function](...one.arguments));
console.log(JSON.stringify({ names: Object.keys(attention), answers }, readable));
