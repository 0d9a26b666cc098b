/* node touch.mjs < {site, browser, visits, far} : touches each widget of the built site as a reader does, and reads it off. */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { launched } from "../browser/launch.mjs";
import { AXE } from "../browser/pages.mjs";
import { serve } from "../browser/server.mjs";

const require = createRequire(new URL("../browser/package.json", import.meta.url));
const axe = require("axe-core");

const DESK = { width: 1280, height: 900 };
const PHONE = { width: 390, height: 844 };
const NARROW = { width: 320, height: 844 };
const WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];

const request = JSON.parse(readFileSync(0, "utf8"));
// Without formulas, since no widget needs MathJax, and it takes its time.
const site = await serve(request.site, { "/_static/mathjax/tex-chtml.js": "", [AXE]: axe.source });
const browser = await launched(request.browser);

/* One step of a reader; each leaves the widget in a state that is read off. */
const STEPS = {
  none: async () => {},
  press: async (widget, { on, keys }) => {
    await widget.locator(on).focus();
    for (const key of keys) await widget.page().keyboard.press(key);
  },
  click: (widget, { on }) => widget.locator(on).click(),
  hover: (widget, { on }) => widget.locator(on).hover(),
  select: (widget, { on, label }) => widget.locator(on).selectOption({ label }),
  type: (widget, { on, text }) => widget.locator(on).fill(text),
  drag: async (widget, { on, by }) => {
    const { x, y, width, height } = await widget.locator(on).boundingBox();
    const mouse = widget.page().mouse;
    await mouse.move(x + width / 2, y + height / 2);
    await mouse.down();
    await mouse.move(x + width / 2 + by[0], y + height / 2 + by[1], { steps: 4 });
    await mouse.up();
  },
  /* A finger that takes a slider's thumb to its end, and a little beyond. */
  swipe: async (widget, { on }) => {
    const slider = widget.locator(on);
    await slider.scrollIntoViewIfNeeded();
    const { x, y, width, height } = await slider.boundingBox();
    const share = await slider.evaluate((one) => (one.value - one.min) / (one.max - one.min));
    const half = height / 2; // the thumb stays inside of the track
    const start = x + half + share * (width - 2 * half);
    const end = x + width + half;
    const finger = await widget.page().context().newCDPSession(widget.page());
    const touch = (type, ...points) => finger.send("Input.dispatchTouchEvent", { type, touchPoints: points });
    await touch("touchStart", { x: start, y: y + half });
    for (const part of [0.25, 0.5, 0.75, 1]) await touch("touchMove", { x: start + part * (end - start), y: y + half });
    await touch("touchEnd");
    await finger.detach();
  },
  tap: (widget, { on, at }) =>
    widget
      .locator(on)
      .first()
      .tap({ position: { x: at[0], y: at[1] } }),
};

async function visit(context, one) {
  const page = await context.newPage();
  const errors = [];
  page.on("console", (message) => {
    const ours = message.location().url.includes("/widgets/"); // the rest of the page has a test of its own
    if (ours && message.type() === "error") errors.push(message.text());
  });
  page.on("pageerror", (error) => errors.push(error.message));
  await page.goto(`${site.origin}/${one.page}`, { waitUntil: "load" });
  const widget = page.locator(`#widget-${one.widget}`);
  await widget.scrollIntoViewIfNeeded();
  await widget.locator(".widget-says:not(:empty)").waitFor();
  await widget.locator(".widget-again:not([hidden])").waitFor();
  const states = [];
  for (const step of one.steps) {
    await STEPS[step.do](widget, step);
    await page.waitForTimeout(250); // the summary speaks when the reader has come to rest
    states.push(await widget.evaluate(readOff));
  }
  const askew = await widget.evaluate(outOfLine);
  await page.addScriptTag({ url: site.origin + AXE });
  const light = await violations(page, one.widget, { type: "tag", values: WCAG });
  await page.emulateMedia({ colorScheme: "dark" });
  const dark = await violations(page, one.widget, { type: "rule", values: ["color-contrast"] });
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize(PHONE);
  const phone = await violations(page, one.widget, { type: "rule", values: ["target-size"] });
  const sideways = await widget.evaluate((box) => box.scrollWidth - box.clientWidth);
  await page.setViewportSize(NARROW);
  askew.push(...(await widget.evaluate(outOfLine)));
  await page.close();
  return { ...one, states, errors, light, dark, phone, sideways, askew };
}

async function violations(page, name, runOnly) {
  const run = { runOnly, resultTypes: ["violations"] };
  const found = await page.evaluate(([at, only]) => window.axe.run(at, only), [`#widget-${name}`, run]);
  return found.violations.flatMap(({ id, nodes }) => nodes.map(({ target }) => `${id}: ${target.join(" ")}`));
}

/* In the page: every number that the widget shows. */
function readOff(widget) {
  const text = (node) => node.textContent;
  const all = (selector, root = widget) => [...root.querySelectorAll(selector)];
  const rows = (table) => all("tbody tr", table).map((row) => all("td", row).map(text));
  const heads = (table) => all("tbody th", table).map(text);
  return {
    tables: Object.fromEntries(all(".widget-matrix").map((table) => [table.dataset.name, rows(table)])),
    rowNames: Object.fromEntries(all(".widget-matrix").map((table) => [table.dataset.name, heads(table)])),
    facts: Object.fromEntries(all("dd").map((fact) => [fact.dataset.name, text(fact)])),
    bars: all(".widget-bars span").map((bar) => Number(bar.style.getPropertyValue("--height"))),
    handles: Object.fromEntries(
      all(".handle").map((point) => [point.ariaLabel, point.getAttribute("aria-valuetext")]),
    ),
    says: text(widget.querySelector(".widget-says")),
    made: all("td.made").map(text),
    moved: all(".moved").map((letter) => letter.dataset.moves),
    makers: all("td.maker").map(text),
    focus: document.activeElement.textContent,
  };
}

/* In the page: matrices that stand side by side and have as many rows, but not at one height; and words of a drawing
   that leave it. */
function outOfLine(widget) {
  const inside = (inner, outer) => inner.top > outer.top - 1 && inner.bottom < outer.bottom + 1 &&
    inner.left > outer.left - 1 && inner.right < outer.right + 1;
  const box = (node) => node.getBoundingClientRect();
  const wrong = [...widget.querySelectorAll(".widget-plane svg text")]
    .filter((text) => text.textContent && !inside(box(text), box(text.ownerSVGElement)))
    .map((text) => `${innerWidth}: ${text.textContent} leaves its drawing`);
  for (const row of widget.querySelectorAll(".widget-row")) {
    const tables = [...row.querySelectorAll(".widget-matrix")].map((table) => ({ name: table.dataset.name,
      box: box(table), tops: [...table.querySelectorAll("tbody tr")].map((line) => box(line).top) }));
    for (const [i, one] of tables.entries()) {
      for (const other of tables.slice(i + 1)) {
        const beside = one.tops.length === other.tops.length && one.box.top < other.box.bottom && other.box.top < one.box.bottom;
        const off = Math.max(...one.tops.map((top, line) => Math.abs(top - other.tops[line])));
        if (beside && off > 1) wrong.push(`${innerWidth}: ${one.name}, ${other.name}: ${off.toFixed(0)} px`);
      }
    }
  }
  return wrong;
}

/* How wide the picture is that stands in a widget's place: 0 where it did not arrive. */
async function picture(context, { page: path, widget }) {
  const page = await context.newPage();
  await page.goto(`${site.origin}/${path}`, { waitUntil: "load" });
  await page.locator(`#widget-${widget}`).scrollIntoViewIfNeeded();
  const image = page.locator(`#widget-${widget} :is(img.by-day, .door)`);
  await image.waitFor();
  const width = await image.evaluate((one) => one.decode?.().then(() => one.naturalWidth) ?? one.offsetWidth);
  await page.close();
  return width;
}

/* What has been fetched when the page has come to rest at its top, before any widget is near. */
async function early(path) {
  const page = await browser.newPage({ viewport: DESK });
  const fetched = [];
  page.on(
    "request",
    (asked) => asked.url().includes("/widgets/") && fetched.push(asked.url().split("/").at(-1)),
  );
  await page.goto(`${site.origin}/${path}`, { waitUntil: "networkidle" });
  await page.close();
  return fetched.map((name) => name.split("?")[0]);
}

const scriptless = await browser.newContext({ javaScriptEnabled: false });
const broken = await browser.newContext();
await broken.route("**/*.mjs", (route) => route.abort());

const result = { visits: [], scriptless: {}, early: await early(request.far) };
result.broken = await picture(broken, request.visits[0]);
const waiting = [...request.visits];
async function work() {
  const touching = await browser.newContext({ viewport: DESK, hasTouch: true }); // a window in front, which is drawn
  for (let one = waiting.shift(); one; one = waiting.shift()) {
    result.visits.push(await visit(touching, one));
    if (!one.movesAFigure) result.scriptless[one.widget] = await picture(scriptless, one);
  }
}
await Promise.all([work(), work()]); // while one waits for its page, the other works
console.log(JSON.stringify(result));
await browser.close();
site.close();
