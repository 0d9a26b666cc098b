/* The built site on a free port of the loopback, compressed as a host compresses it; `others` by path, texts which
   are served beside it or in place of what it has there. A page asked for with `?slowly` comes a piece at a time, so
   that the browser shows it unfinished, as a slow line or a busy machine does by chance. */

import { readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";

const TYPES = {
  ".css": "text/css",
  ".html": "text/html; charset=utf-8",
  ".ipynb": "application/json",
  ".js": "text/javascript",
  ".json": "application/json",
  ".mjs": "text/javascript",
  ".png": "image/png",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
  ".webp": "image/webp",
  ".woff": "font/woff",
};
const PACKED = new Set([".png", ".webp", ".woff"]); // compressed already

export function serve(site, others = {}) {
  const files = new Map(Object.entries(others).map(([path, text]) => [path, written(path, text)]));

  function file(path) {
    if (!files.has(path)) files.set(path, read(join(site, normalize(decodeURIComponent(path)))));
    return files.get(path);
  }

  const server = createServer((request, response) => {
    const { pathname, search } = new URL(request.url, "http://site");
    const { body, type, packed } = file(pathname);
    if (!body) return response.writeHead(404).end();
    if (search === "?slowly") return inPieces(response.writeHead(200, { "content-type": type }), gunzipSync(body));
    const encoding = packed ? {} : { "content-encoding": "gzip" };
    response.writeHead(200, { "content-type": type, "cache-control": "max-age=600", ...encoding }).end(body);
  });
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => {
      const origin = `http://127.0.0.1:${server.address().port}`;
      const bytes = (url) => file(new URL(url).pathname).body?.length ?? 0;
      resolve({ origin, bytes, close: () => server.close() });
    });
  });
}

const PIECE = 1024; // bytes
const PAUSE = 30; // milliseconds: two frames

async function inPieces(response, body) {
  for (let at = 0; at < body.length; at += PIECE) {
    response.write(body.subarray(at, at + PIECE));
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
  response.end();
}

function written(path, text) {
  return { body: gzipSync(text), type: TYPES[extname(path)], packed: false };
}

function read(path) {
  if (!statSync(path, { throwIfNoEntry: false })?.isFile()) return {};
  const ending = extname(path);
  const packed = PACKED.has(ending);
  const raw = readFileSync(path);
  return { body: packed ? raw : gzipSync(raw), type: TYPES[ending] ?? "application/octet-stream", packed };
}
