/* node site.mjs REQUEST : reads {site, browser, pages, everyLook, planted, chapter, start, queries, results, paper}, prints
   what was found as JSON. */

import { readFileSync } from "node:fs";
import axe from "axe-core";
import { launched } from "./launch.mjs";
import { AGAIN, ALIKE, AXE, inspect, LOOKS, still, WHOLE } from "./pages.mjs";
import { firstFound, firstPaint, fromFolder, frontDoor, frontFromFolder, hits, keyboard, onPaper, printed, search, typed } from "./reader.mjs";
import { serve } from "./server.mjs";

const request = JSON.parse(readFileSync(process.argv[2], "utf8"));
const PLANTED = "notebooks/planted.html"; // a page with faults, to see that they are seen
const site = await serve(request.site, { [AXE]: axe.source, [`/${PLANTED}`]: request.planted });
// No other host has an address.
const browser = await launched(request.browser, ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]);
await browser.newPage(); // kept open: a Chromium whose last page is closed may open no other

/* Each page in the look of its turn; those that axe is to judge in every look take all turns. The pages of code and
   of the reference are made by two templates: together they are seen in every look. */
const waiting = request.pages.flatMap((path, turn) => {
  if (/^(_modules|book\/api)\//.test(path)) return [[path, turn, ALIKE]];
  const others = request.everyLook.includes(path) ? LOOKS.length - 1 : 0;
  return [[path, turn, WHOLE], ...Array.from({ length: others }, (_, i) => [path, turn + i + 1, AGAIN])];
});
waiting.push([PLANTED, 0, WHOLE]);
const seen = [];
async function work() {
  const tab = await (await still(browser)).newPage();
  for (let one = waiting.shift(); one; one = waiting.shift()) seen.push(await inspect(tab, site, ...one));
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
const planted = seen.find((page) => page.path === PLANTED);
const pages = seen.filter((page) => page !== planted);
const largest = pages.reduce((a, b) => (b.bytes > a.bytes ? b : a));
const paint = {
  [request.start]: await firstPaint(browser, site, request.start),
  [largest.path]: await firstPaint(browser, site, largest.path),
};
reader.door = [];
for (const size of WINDOWS) reader.door.push(await frontDoor(browser, site, request.start, size));
reader.unserved = await frontFromFolder(browser, request.site, request.start);
reader.keyboard = await keyboard(browser, site, request.chapter);
console.log(JSON.stringify({ pages, planted, ...reader, paint }));
await browser.close();
site.close();
