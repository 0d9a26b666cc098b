/* node site.mjs REQUEST : reads {site, browser, pages, chapter, start, queries}, prints what was found as JSON. */

import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";
import { inspect } from "./pages.mjs";
import { firstFound, firstPaint, keyboard, printed, search } from "./reader.mjs";
import { serve } from "./server.mjs";

const request = JSON.parse(readFileSync(process.argv[2], "utf8"));
const site = await serve(request.site);
// Chromium's own sandbox needs a user other than root; nothing but the built site is opened here.
const browser = await chromium.launch({ executablePath: request.browser, args: ["--no-sandbox"] });
await browser.newPage(); // kept open: a Chromium whose last page is closed may open no other

/* Three at a time: one page waits while another computes. */
const waiting = [...request.pages];
const pages = [];
async function work() {
  while (waiting.length) pages.push(await inspect(browser, site, waiting.shift()));
}
await Promise.all([work(), work(), work()]);

const largest = pages.reduce((a, b) => (b.bytes > a.bytes ? b : a));
const result = {
  pages,
  found: await firstFound(browser, site, request.queries),
  search: await search(browser, site, request.start, "log sum exp"),
  printed: await printed(browser, site, request.start),
  keyboard: await keyboard(browser, site, request.chapter),
  paint: {
    [request.start]: await firstPaint(browser, site, request.start),
    [largest.path]: await firstPaint(browser, site, largest.path),
  },
};
console.log(JSON.stringify(result));
await browser.close();
site.close();
