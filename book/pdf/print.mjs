/* node print.mjs SITE PAGE BROWSER FILE : the one page of one_page.py, served with the site, printed to a PDF. */

import { createRequire } from "node:module";

const tools = new URL("../../tests/browser/", import.meta.url);
const { chromium } = createRequire(new URL("site.mjs", tools))("playwright-core");
const { serve } = await import(new URL("server.mjs", tools));

const [site, page, executablePath, path] = process.argv.slice(2);
const served = await serve(site);
const browser = await chromium.launch({
  executablePath,
  // Chromium's own sandbox needs a user other than root; nothing but the built site is opened here.
  args: ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
});
const tab = await browser.newPage();
tab.setDefaultTimeout(600_000);
await tab.route("**/whole-book.html", (route) => route.fulfill({ path: page, contentType: "text/html" }));
await tab.goto(`${served.origin}/whole-book.html`, { waitUntil: "load" });
await tab.waitForFunction(() => window.MathJax?.startup?.promise);
await tab.evaluate(() => window.MathJax.startup.promise.then(() => document.fonts.ready).then(() => true));
await tab.pdf({
  path,
  format: "A4",
  margin: { top: "18mm", bottom: "18mm", left: "20mm", right: "20mm" },
  outline: true,
  tagged: true,
  displayHeaderFooter: true,
  headerTemplate: "<span></span>",
  footerTemplate: '<div style="font-size: 8px; width: 100%; text-align: center"><span class="pageNumber"></span></div>',
});
await browser.close();
served.close();
