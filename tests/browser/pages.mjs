/* What is looked at on every page: at four widths, by day and by night, as it was loaded and after a resize. */

export const AXE = "/axe.js"; // served beside the site: evaluated as text, it would be compiled on every page
const WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
const DESK = { width: 1300, height: 900 };
const WIDTHS = [320, 390, 768, DESK.width]; // the narrowest of which WCAG speaks, a phone, a tablet, a desk
export const LOOKS = WIDTHS.flatMap((width) => ["light", "dark"].map((theme) => ({ width, theme })));

/* Which looks a page is taken through, counted on from the one in which it is loaded, and in which of them axe judges
   it; 0 is the page as it was loaded, 3 is always of the other theme and another width. */
export const WHOLE = { through: [2, 3, 4, 5, 6, 7, 8, 9], judged: [0, 3] };
export const ALIKE = { through: [3, 5, 7, 9], judged: [0] }; // one of many pages that are made alike
export const AGAIN = { through: [3], judged: [0, 3] }; // a page that has been seen whole

/* One tab for many paths: it keeps what it has cached and compiled, which a route would switch off. What a page
   asks of other hosts is listed all the same, and finds no host (see site.mjs). In eight turns a page is judged
   by axe in all looks, loaded there and resized; pages in turn share them out among themselves. */
export async function inspect(page, site, path, turn, { through, judged }) {
  const report = { path, elsewhere: [], console: [], axe: [] };
  for (const name of Object.keys(CHECKS)) report[name] = [];
  const urls = new Set();
  page.on("request", (request) => {
    const url = request.url();
    if (url.startsWith(site.origin)) urls.add(url);
    else if (!url.startsWith("data:")) report.elsewhere.push(url);
  });
  page.on("console", (message) => message.type() === "error" && report.console.push(message.text()));
  page.on("pageerror", (error) => report.console.push(error.message));

  for (const step of [0, ...through]) {
    const { width, theme } = LOOKS[(turn + step) % LOOKS.length];
    await page.emulateMedia({ colorScheme: theme });
    await page.setViewportSize({ width, height: DESK.height });
    if (step === 0) await arrive(page, `${site.origin}/${path}`);
    await settled(page, theme);
    const note = (name, faults) => report[name].push(...faults.map((fault) => `${width} px, ${theme}: ${fault}`));
    for (const [name, check] of Object.entries(CHECKS)) note(name, await page.evaluate(check));
    if (step === 0) report.bytes = await weight(page, site, urls);
    if (judged.includes(step)) note("axe", await violations(page, site));
  }

  page.removeAllListeners();
  return report;
}

async function arrive(page, url) {
  await page.goto(url, { waitUntil: "load" });
  await settled(page);
  await reachWidgets(page);
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

/* Scripts have run, formulas are set, and the page has been drawn, in a theme if one is named. A tab draws only in
   front of its window, so each has a window, which is to say a context, of its own. */
export async function settled(page, theme) {
  await page.evaluate(async (wanted) => {
    await window.MathJax?.startup?.promise;
    const drawn = () => new Promise(requestAnimationFrame);
    do await drawn();
    while (wanted && document.documentElement.dataset.theme !== wanted);
    await drawn();
  }, theme);
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
function pictures() {
  const sources = (selector) => [...document.querySelectorAll(selector)].map((picture) => picture.src);
  return { day: sources("img:not(.by-night)"), night: sources("img.by-night") };
}

/* Of all that came, and of what is further down; a reader gets the pictures of one theme. */
async function weight(page, site, urls) {
  const { day, night } = await page.evaluate(pictures);
  const counted = new Set([...urls, ...day].filter((url) => !night.includes(url) && !url.includes("/mathjax/")));
  return [...counted].reduce((sum, url) => sum + site.bytes(url), 0);
}

async function violations(page, site) {
  if (await page.evaluate(() => !window.axe)) await page.addScriptTag({ url: site.origin + AXE });
  const found = await page.evaluate(judge, { runOnly: { type: "tag", values: WCAG }, resultTypes: ["violations"], preload: false });
  return found.flatMap(({ id, nodes }) =>
    nodes.slice(0, 3).map((node) => `${id}: ${node.target.join(" ")}: ${node.any[0]?.message ?? node.html}`),
  );
}

/* In the page: glyphs that style sheets draw have no text for axe (test_book.py has their colours), a token of code looks
   like every other of its class and ground, and the fourth of brothers that are alike down to their leaves like the first
   three. Without them axe takes a second, not ten; then all is put back. */
async function judge(options) {
  const away = [];
  const takeAway = (node) => {
    const place = document.createComment("");
    node.replaceWith(place);
    away.push(() => place.replaceWith(node));
  };
  for (const formula of document.querySelectorAll("mjx-container")) [...formula.childNodes].forEach(takeAway);
  const seen = new Set();
  for (const code of document.querySelectorAll(".highlight pre")) {
    const thin = code.cloneNode(true);
    const ground = code.closest("[class^=highlight-], [class*=' highlight-']")?.className;
    for (const token of thin.querySelectorAll("*")) {
      const kind = `${ground} ${token.className}`;
      if (seen.has(kind)) token.replaceWith(...token.childNodes);
      seen.add(kind);
    }
    code.replaceWith(thin);
    away.push(() => thin.replaceWith(code));
  }
  const shapes = new Map();
  const numbers = new Map(); // of each shape
  const shape = (node) => {
    const attributes = [...node.attributes].map(({ name, value }) => (["class", "style", "role"].includes(name) ? value : name));
    const made = `${node.localName}[${attributes}](${[...node.children].map(shape)})`;
    if (!numbers.has(made)) numbers.set(made, numbers.size);
    shapes.set(node, numbers.get(made));
    return numbers.get(made);
  };
  shape(document.body);
  for (const parent of shapes.keys()) {
    const alike = Map.groupBy(parent.children, (child) => shapes.get(child));
    for (const brothers of alike.values()) brothers.slice(3).forEach(takeAway);
  }
  const { violations } = await window.axe.run(options);
  for (const back of away.reverse()) back();
  return violations;
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

/* In the page: margin notes that leave the window or lie on something else. */
function crowdedNotes() {
  const shown = (selector) => [...document.querySelectorAll(selector)].filter((one) => one.checkVisibility());
  const notes = shown("aside.margin");
  const blocks = shown(".bd-article :is(p, pre, figure, table, .admonition, .math, .widget)");
  const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  const crowded = notes.filter((note) => {
    const box = note.getBoundingClientRect();
    const others = [...blocks, ...notes].filter((block) => !note.contains(block) && !block.contains(note));
    return box.right > innerWidth || others.some((block) => meet(box, block.getBoundingClientRect()));
  });
  return crowded.map((note) => note.textContent.trim());
}

/* In the page: by how much it is wider than the window. */
function sideways() {
  const wider = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  return wider > 0 ? [`by ${wider} px`] : [];
}

/* In the page: boxes that scroll inside themselves, as code and wide formulas, and that no key reaches. The page
   hears of a new width when the browser draws it: it is given a few frames. */
async function unreachableBoxes() {
  const scrolls = (box) => ["auto", "scroll"].includes(getComputedStyle(box).overflowX);
  const boxes = [...document.querySelectorAll("main *:not(pre *, mjx-container *)")].filter(
    (box) => box.scrollWidth > box.clientWidth + 1 && scrolls(box) && box.checkVisibility(),
  );
  const reachable = (box) => box.tabIndex >= 0 || box.querySelector("a, button, input, [tabindex='0']");
  for (let frame = 0; frame < 9 && !boxes.every(reachable); frame++) await new Promise(requestAnimationFrame);
  return boxes.filter((box) => !reachable(box)).map((box) => `${box.localName}.${[...box.classList].join(".")}`);
}

/* In the page, at night: pictures that are a bright slab, by their own corners or by what lies behind them. */
async function slabs() {
  if (document.documentElement.dataset.theme !== "dark") return [];
  const bright = ([red, green, blue, alpha]) => alpha > 127 && 0.2126 * red + 0.7152 * green + 0.0722 * blue > 80;
  const pictures = [...document.querySelectorAll(".bd-article img")].filter((one) => one.checkVisibility());
  const found = [];
  for (const picture of pictures) {
    picture.loading = "eager";
    await picture.decode().catch(() => found.push(`${picture.src} does not come`));
    const canvas = Object.assign(document.createElement("canvas"), { width: 32, height: 32 });
    const drawn = canvas.getContext("2d");
    drawn.fillStyle = getComputedStyle(picture).backgroundColor;
    drawn.fillRect(0, 0, 32, 32);
    drawn.drawImage(picture, 0, 0, 32, 32);
    const corners = [0, 31].flatMap((x) => [0, 31].map((y) => drawn.getImageData(x, y, 1, 1).data));
    if (corners.every(bright)) found.push(`${picture.src.split("/").at(-1)} is a slab`);
  }
  return found;
}

const CHECKS = {
  tex: rawTex,
  broken: brokenWords,
  crowded: crowdedNotes,
  sideways,
  unreachable: unreachableBoxes,
  slabs,
};
