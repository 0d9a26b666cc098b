/* node site.mjs REQUEST : reads {site, browser, pages, chapter, start, queries, results, paper}, prints what was found as JSON. */

import { readFileSync } from "node:fs";
import axe from "axe-core";
import { launched } from "./launch.mjs";
import { AXE, inspect, still } from "./pages.mjs";
import { firstFound, firstPaint, fromFolder, frontDoor, frontFromFolder, hits, keyboard, onPaper, printed, search, typed } from "./reader.mjs";
import { serve } from "./server.mjs";

const request = JSON.parse(readFileSync(process.argv[2], "utf8"));
const site = await serve(request.site, { [AXE]: axe.source });
// No other host has an address.
const browser = await launched(request.browser, ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]);
await browser.newPage(); // kept open: a Chromium whose last page is closed may open no other

const context = await still(browser);
const waiting = [...request.pages];
const pages = [];
async function work() {
  const tab = await context.newPage();
  while (waiting.length) pages.push(await inspect(tab, site, waiting.shift()));
}

async function read() {
  return {
    found: await firstFound(browser, site, request.queries),
    search: await search(browser, site, request.start, "log sum exp"),
    hits: await hits(browser, site, request.results),
    typed: await typed(browser, site, "mask upside down"),
    folder: await fromFolder(browser, request.site, "why divide by sqrt"),
    printed: await printed(browser, site, request.start),
    paper: await onPaperEach(request.paper),
  };
}

async function onPaperEach(paths) {
  const sheets = [];
  for (const path of paths) sheets.push(await onPaper(browser, site, path));
  return sheets;
}

const WINDOWS = [
  [1300, 900],
  [390, 844],
];

/* Several at a time: one waits while another computes. The clock, and what has the focus, want to be alone. */
const [reader] = await Promise.all([read(), work(), work()]);
const largest = pages.reduce((a, b) => (b.bytes > a.bytes ? b : a));
const paint = {
  [request.start]: await firstPaint(browser, site, request.start),
  [largest.path]: await firstPaint(browser, site, largest.path),
};
reader.door = [];
for (const size of WINDOWS) reader.door.push(await frontDoor(browser, site, request.start, size));
reader.unserved = await frontFromFolder(browser, request.site, request.start);
reader.keyboard = await keyboard(browser, site, request.chapter);
console.log(JSON.stringify({ pages, ...reader, paint }));
await browser.close();
site.close();
