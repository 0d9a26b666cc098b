/* Chromium for the tests: patient, for a busy machine may take a minute over a page that takes a second. */

import { chromium } from "playwright-core";

const PATIENCE = 180_000; // milliseconds

/* Its own sandbox needs a user other than root; nothing but what a test serves is opened. */
export async function launched(executablePath, args = []) {
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", ...args], timeout: PATIENCE });
  const newContext = browser.newContext.bind(browser);
  browser.newContext = async (options) => {
    const context = await newContext(options);
    context.setDefaultTimeout(PATIENCE);
    return context;
  };
  return browser;
}
