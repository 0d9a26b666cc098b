/* node try.mjs < {browser, visits: {what: {root, path, …}}} : what a reader who tries cells gets to see. */

import { readFileSync } from "node:fs";
import axe from "axe-core";
import { launched } from "./launch.mjs";
import { settled, still } from "./pages.mjs";
import { serve } from "./server.mjs";

const SCRIPTS = { "/_static/mathjax/tex-chtml.js": "" }; // no cell needs MathJax, and it takes its time
const WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
const request = JSON.parse(readFileSync(0, "utf8"));
const browser = await launched(request.browser);

/* A page, and the list of what it asks for. */
async function visit(site, path) {
  const page = await (await still(browser)).newPage();
  const asked = [];
  page.on("request", (one) => asked.push(one.url().replace(site.origin, "").split("?")[0]));
  await page.goto(`${site.origin}/${path}`, { waitUntil: "load" });
  return { page, asked };
}

/* Opens a cell; then `write` and `run` do what a reader does, and `heard` holds all that its status said. */
async function open(page, name) {
  const place = page.locator(`.try[data-name="${name}"]`);
  await place.locator("button").click();
  const text = place.locator("textarea");
  const says = place.locator("[role=status]");
  await says.evaluate((status) => {
    status.heard = [];
    new MutationObserver(() => status.heard.push(status.textContent)).observe(status, { childList: true });
  });
  const button = (label) => place.getByRole("button", { name: label });
  const done = () => button("Run").waitFor();
  return {
    text,
    done,
    button,
    says: () => says.textContent(),
    heard: () => says.evaluate((status) => status.heard),
    async shows(source) {
      await text.fill(source);
      await text.press("Control+Enter");
      await done();
      return says.textContent();
    },
  };
}

async function violations(page, runOnly) {
  const run = { runOnly, resultTypes: ["violations"] };
  const found = await page.evaluate(([at, only]) => window.axe.run(at, only), [".try", run]);
  return found.violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`));
}

/* Python without NumPy: these cells need the standard library only. */
async function plain(site, { path, own: ownName, other: otherName }) {
  const { page, asked } = await visit(site, path);
  const result = { starters: {} };
  for (const name of await page.locator(".try").evaluateAll((all) => all.map((one) => one.dataset.name))) {
    result.starters[name] = await (await open(page, name)).text.inputValue();
  }
  result.early = [...asked];
  await page.reload({ waitUntil: "load" });
  const [own, other] = [await open(page, ownName), await open(page, otherName)];
  result.printed = await own.shows('print("two words")\nfour = math.sqrt(16)\nfour');
  result.heard = await own.heard();
  result.shared = await other.shows("four * 2");
  result.stopped = await other.shows("def half(x):\n    return x / 0\n\nhalf(four)");
  result.wrong = await other.shows("def half(x:\n");
  result.silent = await other.shows("");

  await own.text.fill("while True:\n    pass");
  await own.button("Run").click();
  await page.locator("[role=status]", { hasText: "Running …" }).waitFor();
  await other.button("Run").click();
  result.busy = await other.says();
  await own.button("Stop").click();
  await own.done();
  result.endless = await own.says();
  result.anew = await own.shows("1 + 1");
  result.forgotten = await own.shows("four");

  await own.text.fill("");
  await own.text.pressSequentially("if True:\nprint(3)");
  result.indented = await own.text.inputValue();
  await own.text.press("Tab");
  result.afterTab = await page.evaluate(() => document.activeElement.textContent);
  await own.button("Reset").click();
  result.reset = [await own.text.inputValue(), await own.says()];

  await own.shows("print('a ' * 2000)\n" + "x" * 200);
  await settled(page);
  await page.evaluate(axe.source);
  result.light = await violations(page, { type: "tag", values: WCAG });
  await page.emulateMedia({ colorScheme: "dark" });
  await page.waitForFunction(() => document.documentElement.dataset.theme === "dark");
  result.dark = await violations(page, { type: "rule", values: ["color-contrast"] });
  await page.setViewportSize({ width: 390, height: 844 });
  result.phone = await violations(page, { type: "rule", values: ["target-size"] });
  result.sideways = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  result.asked = asked;
  await page.close();
  return result;
}

/* A cell that needs NumPy, where NumPy is not; and once more. */
async function lacking(site, { path, own }) {
  const { page, asked } = await visit(site, path);
  const cell = await open(page, own);
  const says = [await cell.shows("1 + 1"), await cell.shows("1 + 1")];
  await page.close();
  return { says, asked };
}

/* Everything there: what each cell of a page shows, for each of the sources given for it. */
async function whole(site, { path, sources }) {
  const { page, asked } = await visit(site, path);
  page.setDefaultTimeout(240_000); // a busy machine compiles ten megabytes for a while
  const shown = {};
  for (const [name, all] of Object.entries(sources)) {
    const cell = await open(page, name);
    shown[name] = [];
    for (const source of all) shown[name].push(await cell.shows(source));
  }
  await page.close();
  return { shown, asked };
}

const VISITS = { plain, lacking, whole };
const result = {};
await browser.newPage(); // kept open: a Chromium whose last page is closed may open no other
for (const [what, given] of Object.entries(request.visits)) {
  const site = await serve(given.root, SCRIPTS);
  result[what] = await VISITS[what](site, given);
  site.close();
}
console.log(JSON.stringify(result));
await browser.close();
