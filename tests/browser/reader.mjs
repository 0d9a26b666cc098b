/* What a reader does: searches, goes through a chapter by keyboard, ticks it off, waits for the first paint. */

import { settled, still } from "./pages.mjs";

/* The page that the site's own search puts first, for each query. */
export async function firstFound(browser, site, queries) {
  const page = await browser.newPage();
  await page.goto(`${site.origin}/search.html`, { waitUntil: "load" });
  const found = await page.evaluate((all) => {
    /* global searchBook */
    return all.map((query) => searchBook(query)[0]?.page ?? null);
  }, queries);
  await page.close();
  return Object.fromEntries(queries.map((query, i) => [query, found[i]]));
}

/* What a page of results shows, and how much of the page behind the first one is highlighted. */
export async function hits(browser, site, results) {
  const page = await browser.newPage();
  await page.goto(`${site.origin}/${results}`, { waitUntil: "load" });
  const excerpts = await page.locator(".found p").allTextContents();
  await page.goto(`${site.origin}/search.html?q=query key value`, { waitUntil: "load" });
  const marked = await page.locator(".found mark").allTextContents();
  await page.goto(`${site.origin}/${results}`, { waitUntil: "load" });
  await page.locator(".found a").first().click();
  await page.waitForURL((url) => !url.pathname.endsWith("/search.html"), { waitUntil: "load" });
  const highlighted = await page.locator(".highlighted").count();
  await page.close();
  return { excerpts, marked, highlighted };
}

/* Typed into the field of the page of results: its first answer, and the address that one may keep. */
export async function typed(browser, site, words) {
  const page = await browser.newPage();
  await page.goto(`${site.origin}/search.html`, { waitUntil: "load" });
  await page.locator(".bd-search-container input[name=q]").pressSequentially(words);
  const first = await page.locator(".found a").first().getAttribute("href");
  const address = new URL(page.url()).search;
  await page.close();
  return { first: first.split("#")[0], address };
}

/* The first answer of a book that was opened from a folder. */
export async function fromFolder(browser, folder, words) {
  const page = await browser.newPage();
  await page.goto(`file://${folder}/search.html?q=${encodeURIComponent(words)}`, { waitUntil: "load" });
  const first = await page.locator(".found a").first().getAttribute("href");
  await page.close();
  return first.split("#")[0];
}

/* Typed into the search field with Ctrl+K, and the first result followed. */
export async function search(browser, site, start, words) {
  const page = await browser.newPage();
  await page.goto(`${site.origin}/${start}`, { waitUntil: "load" });
  await page.keyboard.press("Control+k");
  await page.keyboard.type(words);
  await page.keyboard.press("Enter");
  await page.locator(".found a").first().click();
  await page.waitForURL((url) => !url.pathname.endsWith("/search.html"));
  const end = page.url().slice(site.origin.length + 1);
  await page.close();
  return end;
}

/* First contentful paint in ms, in a fresh cache: the least of three, since other tests share the machine. */
export async function firstPaint(browser, site, path) {
  const times = [];
  for (let i = 0; i < 3; i++) {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(`${site.origin}/${path}`, { waitUntil: "load" });
    times.push(await page.evaluate(firstContentfulPaint));
    await context.close();
  }
  return Math.min(...times);
}

/* In the page: the browser may note the paint after the load. */
function firstContentfulPaint() {
  return new Promise((resolve) => {
    new PerformanceObserver((list) => {
      const paint = list.getEntriesByName("first-contentful-paint")[0];
      if (paint) resolve(paint.startTime);
    }).observe({ type: "paint", buffered: true });
  });
}

/* The front door at the size of a window: by how much its page moves while it arrives a piece at a time, where it
   ends, how high it is with scripts and without, and what of it a finger would miss. */
export async function frontDoor(browser, site, path, [width, height]) {
  const seen = { width, height };
  for (const javaScriptEnabled of [true, false]) {
    const context = await browser.newContext({ viewport: { width, height }, javaScriptEnabled });
    const page = await context.newPage();
    await page.goto(`${site.origin}/${path}?slowly`, { waitUntil: "load" });
    const door = page.locator("#widget-door");
    if (javaScriptEnabled) {
      await door.locator(".widget-again:not([hidden])").waitFor();
      await settled(page);
      seen.shift = await page.evaluate(layoutShift);
      seen.small = await door.locator("input, button").evaluateAll((controls) =>
        controls.map((one) => one.getBoundingClientRect()).filter((box) => Math.min(box.width, box.height) < 24).length,
      );
    }
    const box = await door.boundingBox();
    seen[javaScriptEnabled ? "moving" : "still"] = { top: box.y, bottom: box.y + box.height };
    await context.close();
  }
  return seen;
}

/* What the front page says after a step of its first slider, opened from a folder, without a server. */
export async function frontFromFolder(browser, folder, path) {
  const page = await browser.newPage();
  await page.goto(`file://${folder}/${path}`, { waitUntil: "load" });
  await page.locator("#widget-door .widget-again:not([hidden])").waitFor();
  await page.locator("#widget-door input").first().focus();
  await page.keyboard.press("ArrowRight");
  const says = await page.locator("#widget-door .widget-says").textContent();
  await page.close();
  return says;
}

/* In the page: the sum of its layout shifts, as browsers report them. */
function layoutShift() {
  return new Promise((resolve) => {
    let sum = 0;
    const add = (list) => list.getEntries().forEach(({ value }) => (sum += value));
    new PerformanceObserver(add).observe({ type: "layout-shift", buffered: true });
    setTimeout(() => resolve(sum), 300);
  });
}

/* The mode that a page read in the dark is printed in, and the mode that it has afterwards. */
export async function printed(browser, site, path) {
  const page = await browser.newPage({ colorScheme: "dark" });
  await page.goto(`${site.origin}/${path}`, { waitUntil: "load" });
  await page.evaluate(() =>
    window.addEventListener("beforeprint", () => (window.onPaper = document.documentElement.dataset.theme)),
  );
  await page.pdf();
  const modes = await page.evaluate(() => [window.onPaper, document.documentElement.dataset.theme]);
  await page.close();
  return modes;
}

const PAPER = { width: 718, height: 1047 }; // A4 less margins of 10 mm, in CSS pixels of 1/96 inch

/* What a page is on paper, a widget of it touched or not: what it opens, shows, hides and cuts off. */
export async function onPaper(browser, site, path) {
  const page = await browser.newPage({ viewport: PAPER });
  await page.goto(`${site.origin}/${path}`, { waitUntil: "load" });
  await settled(page);
  await page.evaluate(() => dispatchEvent(new Event("beforeprint")));
  await page.emulateMedia({ media: "print" });
  const sheet = await page.evaluate(whatIsPrinted);
  await page.close();
  return { path, ...sheet };
}

/* In the page, laid out for paper. */
function whatIsPrinted() {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const shown = (selector) => all(selector).filter((element) => element.checkVisibility());
  const name = (element) => `${element.localName}.${element.className}: ${element.textContent.trim().slice(0, 40)}`;
  const inside = ".dropdown > :not(.admonition-title, .toggle-button), details > :not(summary)";
  const pictures = all(".widget-picture.by-day");
  const edge = document.documentElement.clientWidth + 1;
  const beyond = (element) => element.getBoundingClientRect().right > edge;
  const spilling = (element) => element.scrollWidth > element.clientWidth + 1;
  return {
    title: shown(".bd-article h1").length,
    closed: all(inside).length,
    open: shown(inside).map(name),
    menus: shown("nav, header button, .prev-next-footer, .try button, .enlarge, .progress-mark, .copybtn").map(name),
    notes: all("aside.margin").length,
    unseenNotes: all("aside.margin").filter((note) => !note.checkVisibility()).map(name),
    pictures: pictures.length,
    missing: pictures.filter((one) => !one.checkVisibility() || !one.naturalWidth).map((one) => one.alt),
    moving: shown(".widget-stage").length,
    cut: [
      ...shown(".bd-article :is(pre, table, img, mjx-math, p, li)").filter(beyond),
      ...shown(".bd-article :is(pre, figure, .pst-scrollable-table-container)").filter(spilling),
    ].map(name),
  };
}

/* From the top of a chapter to the next one with Tab, Enter and Space alone; every stop must show itself. */
export async function keyboard(browser, site, path) {
  // Without motion, so that a stop is where it will be when it is looked at.
  const page = await (await still(browser, { reducedMotion: "reduce" })).newPage();
  await page.goto(`${site.origin}/${path}`, { waitUntil: "load" });
  await settled(page);
  await allWidgets(page);
  const walk = { stops: 0, unseen: [], skipped: false, opened: false, ticked: false, next: "" };

  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter"); // "Skip to main content"
  const there = page.waitForURL((url) => url.hash === "#main-content", { waitUntil: "commit", timeout: 5000 });
  walk.skipped = await there.then(() => true, () => false); // a busy machine takes a moment
  for (; walk.stops < 400; walk.stops++) {
    await page.keyboard.press("Tab");
    const stop = await page.evaluate(describeStop);
    if (stop.name === null) break;
    if (!stop.seen) walk.unseen.push(stop.name);
    if (stop.hint && !walk.opened) {
      await page.keyboard.press("Enter");
      walk.opened = await page.evaluate(hintIsOpen);
    }
    if (stop.mark) {
      await page.keyboard.press("Space");
      walk.ticked = await page.evaluate(() => document.querySelector(".bd-links a.current")?.matches(".read"));
    }
    if (stop.next) {
      await page.keyboard.press("Enter");
      await page.waitForURL((url) => !url.pathname.endsWith(path));
      walk.next = page.url().slice(site.origin.length + 1);
      break;
    }
  }
  await page.close();
  return walk;
}

/* All widgets there, as they are for a reader who comes near them no faster than a module is fetched: one that
   came to life beside the focus would push it off the screen. */
async function allWidgets(page) {
  for (const widget of await page.locator("[data-widget]").all()) {
    await widget.scrollIntoViewIfNeeded();
    await widget.locator(".widget-says:not(:empty)").waitFor();
  }
  await page.evaluate(() => scrollTo(0, 0));
}

/* In the page: the element with the focus, whether it is on the screen, and whether its focus is drawn. */
function describeStop() {
  const stop = document.activeElement;
  if (stop === document.body) return { name: null };
  const { top, bottom, left, right, width, height } = stop.getBoundingClientRect();
  const style = getComputedStyle(stop);
  const onScreen = width > 0 && height > 0 && bottom > 0 && top < innerHeight && right > 0 && left < innerWidth;
  const drawn = style.opacity > 0 && (style.outlineStyle !== "none" || style.boxShadow !== "none");
  return {
    name: `${stop.localName}.${[...stop.classList].join(".")} ${stop.textContent.trim().slice(0, 30)}`,
    seen: onScreen && drawn,
    hint: stop.matches(".toggle-button, .toggle-button *, .admonition.dropdown *, summary"),
    mark: stop.matches(".progress-mark input"),
    next: stop.matches(".right-next"),
  };
}

function hintIsOpen() {
  const box = document.activeElement.closest(".admonition, details");
  return box.matches("details") ? box.open : !box.matches(".toggle-hidden");
}
