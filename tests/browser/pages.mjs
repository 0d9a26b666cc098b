/* What is looked at on every page, in one load: in light, in dark, and at the width of a phone. */

export const AXE = "/axe.js"; // served beside the site: evaluated as text, it would be compiled on every page
const WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
const COLOURS = ["color-contrast", "link-in-text-block"]; // what changes with the mode; the tree does not
const PHONE = { width: 390, height: 844 };
const NARROW = { width: 320, height: 844 }; // the narrowest of which WCAG speaks
const DESK = { width: 1280, height: 900 };
const WIDTHS = [320, 390, 768, 1300]; // at which no table may break a word

/* One tab for many paths: it keeps what it has cached and compiled, which a route would switch off. What a page
   asks of other hosts is listed all the same, and finds no host (see site.mjs). */
export async function inspect(page, site, path) {
  const report = { path, elsewhere: [], console: [] };
  const urls = new Set();
  page.on("request", (request) => {
    const url = request.url();
    if (url.startsWith(site.origin)) urls.add(url);
    else if (!url.startsWith("data:")) report.elsewhere.push(url);
  });
  page.on("console", (message) => message.type() === "error" && report.console.push(message.text()));
  page.on("pageerror", (error) => report.console.push(error.message));

  await page.setViewportSize(DESK);
  await page.emulateMedia({ colorScheme: "light" });
  await page.goto(`${site.origin}/${path}`, { waitUntil: "load" });
  await settled(page);
  await reachWidgets(page);
  report.bytes = transfer(new Set([...urls, ...(await page.evaluate(picturesByDay))]), site);
  report.tex = await page.evaluate(rawTex);
  Object.assign(report, await page.evaluate(marginNotes));
  report.broken = await brokenAt(page, WIDTHS);

  await page.setViewportSize(PHONE);
  await settled(page);
  Object.assign(report, await page.evaluate(phone));
  await page.setViewportSize(NARROW);
  await settled(page);
  report.sideways += await page.evaluate(sidewaysBy);
  await page.setViewportSize(PHONE);

  await page.addScriptTag({ url: site.origin + AXE });
  await page.evaluate(leaveWhatAxeCanJudge);
  report.phone = await violations(page, { type: "rule", values: ["target-size"] });
  await page.setViewportSize(DESK);
  await settled(page);
  report.light = await violations(page, { type: "tag", values: WCAG });
  await page.emulateMedia({ colorScheme: "dark" });
  await page.waitForFunction(() => document.documentElement.dataset.theme === "dark");
  report.dark = await violations(page, { type: "rule", values: COLOURS });

  page.removeAllListeners();
  return report;
}

/* The words that a table breaks in two, with the width of the window. */
async function brokenAt(page, widths) {
  const broken = [];
  if (!(await page.locator(".bd-article table").count())) return broken;
  for (const width of widths) {
    await page.setViewportSize({ width, height: 900 });
    broken.push(...(await page.evaluate(brokenWords)).map((word) => `${width}: ${word}`));
  }
  return broken;
}

/* In the page: words of its tables that stand on two lines. A hyphen or a slash may end a line. */
function brokenWords() {
  const broken = [];
  for (const cell of document.querySelectorAll(".bd-article :is(th, td)")) {
    const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      const text = texts.currentNode;
      for (const { 0: word, index } of text.data.matchAll(/[\p{L}\p{N}_.]{2,}/gu)) {
        if (/\p{Script=Han}/u.test(word)) continue;
        const range = document.createRange();
        range.setStart(text, index);
        range.setEnd(text, index + word.length);
        const lines = new Set([...range.getClientRects()].map(({ bottom }) => Math.round(bottom / 4)));
        if (lines.size > 1) broken.push(word);
      }
    }
  }
  return broken;
}

/* A context in which nothing fades: what is looked at is what stays. */
export async function still(browser, options) {
  const context = await browser.newContext({ viewport: DESK, colorScheme: "light", ...options });
  await context.addInitScript(() => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync("* { transition: none !important; }");
    document.adoptedStyleSheets = [sheet];
  });
  return context;
}

/* Scripts have run, formulas are set. */
export async function settled(page) {
  await page.evaluate(async () => {
    await window.MathJax?.startup?.promise;
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  });
}

/* Widgets fetch what they need when a reader comes near them, and are looked at alive. */
async function reachWidgets(page) {
  for (const widget of await page.locator(".widget:has([data-widget])").all()) {
    await widget.scrollIntoViewIfNeeded();
    await widget.locator(".widget-again:not([hidden])").waitFor({ state: "attached" });
  }
  await page.evaluate(() => scrollTo(0, 0));
}

/* In the page: its pictures, also those further down, which are fetched when a reader comes near them. */
function picturesByDay() {
  return [...document.querySelectorAll("img:not(.by-night)")].map((picture) => picture.src);
}

function transfer(urls, site) {
  return [...urls].filter((url) => !url.includes("/mathjax/")).reduce((sum, url) => sum + site.bytes(url), 0);
}

/* In the page: glyphs that style sheets draw have no text for axe (test_book.py has their colours), and a
   token of code looks like every other of its class. Without them axe takes a second, not five. */
function leaveWhatAxeCanJudge() {
  for (const formula of document.querySelectorAll("mjx-container")) formula.replaceChildren();
  const seen = new Set();
  for (const token of document.querySelectorAll(".highlight pre *")) {
    if (seen.has(token.className)) token.replaceWith(...token.childNodes);
    seen.add(token.className);
  }
}

async function violations(page, runOnly) {
  const found = await page.evaluate((only) => window.axe.run({ runOnly: only, resultTypes: ["violations"] }), runOnly);
  return found.violations.flatMap(({ id, nodes }) =>
    nodes.slice(0, 3).map((node) => `${id}: ${node.target.join(" ")}: ${node.any[0]?.message ?? node.html}`),
  );
}

/* In the page: what a reader would see of TeX that MathJax did not take, or did not understand. */
function rawTex() {
  const text = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const left = [...document.querySelectorAll("mjx-merror")].map((error) => error.textContent);
  while (text.nextNode()) {
    const { parentElement, data } = text.currentNode;
    if (parentElement.closest("pre, code, script, style, noscript, mjx-container")) continue;
    if (/\\[a-zA-Z]{2,}|\\\(|\\\[|\$\$|\$\w+\$/.test(data)) left.push(data.trim().slice(0, 80));
  }
  return left;
}

/* In the page: its margin notes, and those that leave the window or lie on something else. */
function marginNotes() {
  const notes = [...document.querySelectorAll("aside.margin")];
  const blocks = [...document.querySelectorAll(".bd-article :is(p, pre, figure, table, .admonition, .math, .widget)")];
  const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  const crowded = notes.filter((note) => {
    const box = note.getBoundingClientRect();
    const others = [...blocks, ...notes].filter((block) => !note.contains(block));
    return box.right > innerWidth || others.some((block) => meet(box, block.getBoundingClientRect()));
  });
  return { notes: notes.length, crowded: crowded.map((note) => note.textContent.trim()) };
}

/* In the page: by how much it is wider than the window. */
function sidewaysBy() {
  return document.documentElement.scrollWidth - document.documentElement.clientWidth;
}

/* In the page, at 390 px: does the page itself scroll sideways, and what scrolls inside its own box? The page
   hears of a new width when the browser finds time for it: a busy one is given seconds. */
async function phone() {
  const sideways = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const scrolls = (box) => ["auto", "scroll"].includes(getComputedStyle(box).overflowX);
  const boxes = [...document.querySelectorAll("main *")].filter(
    (box) => box.scrollWidth > box.clientWidth + 1 && scrolls(box) && box.checkVisibility(),
  );
  const name = (box) => `${box.localName}.${[...box.classList].join(".")}`;
  const reachable = (box) => box.tabIndex >= 0 || box.querySelector("a, button, input, [tabindex='0']");
  const until = performance.now() + 10_000;
  while (!boxes.every(reachable) && performance.now() < until) await new Promise((next) => setTimeout(next, 50));
  return { sideways, boxes: boxes.map(name), unreachable: boxes.filter((box) => !reachable(box)).map(name) };
}
