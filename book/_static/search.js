/* The search, in the reader's browser: no server, no request. It ranks the lines that the build has written down
   (BOOK, from book/_extensions/search_index.py). `stopwords` and `Stemmer` are Sphinx's own.

   A line counts by the words of the query that stand in it, rare words more (BM25), and by how nearly one of its
   names is the query. No word is demanded. A page counts by its best line, and by what it holds altogether. */

"use strict";

(() => {
  const ASKING = "about actually all also am any anyone anybody because been being between both can cannot could did do " +
    "does doing done each either every exactly explain explained from get gets getting give gives given had has have " +
    "having he help her here hey hi him his how however i im instead it its itself just know let like may me mean means " +
    "might mine more most much must my need needed needs neither nor one other our ours please question rather really " +
    "same seem seems shall she should so some someone somebody something still tell than thanks them themselves those " +
    "through too under understand until up us use used uses using very vs want was we were what whats when where " +
    "whether which while who whom whose why will without wont work works would yet you your yours " +
    "aren couldn didn doesn don hadn hasn haven isn shouldn wasn weren won wouldn"; // what is left of them before an apostrophe
  const SILENT = new Set([...stopwords, ...ASKING.split(" ")]);
  const WEIGHT = { name: 4, also: 4, words: 1, code: 0.7 };
  const NAMED = 1.6; // a line whose name has the words of the query, beside one in which they stand
  const VERBATIM = 0.2; // and whose name is the query, word by word
  const WITHIN = 0.35; // and whose name is said within a longer question
  const TOGETHER = 0.5; // all words of the query on the page, beside all of them in one line
  const RARE = 1.2; // BM25's k_1: how soon a word that stands there again counts no more
  const ALIKE = 0.6; // a word that means nearly the same, beside the word itself
  const LENGTH = 0.5; // BM25's b: how much a long text must repeat a word
  const STANDING = [["notebooks/entry", 0.9], ["notebooks/", 1], ["book/whole_formula", 0.9], ["book/api", 0.75],
    ["book/tests", 0.3], ["book/map", 0.3], ["book/bibliography", 0.7], ["book/", 0.8]]; // who teaches it stands
  // before who sums it up, and before who lists it

  const stemmer = new Stemmer();
  const stems = new Map();

  function stem(word) {
    if (!stems.has(word)) stems.set(word, word.length > 2 ? stemmer.stemWord(american(word)) : word);
    return stems.get(word);
  }

  /* Quantisation and quantization are one word. */
  function american(word) {
    return word.replace(/is(e|ed|es|er|ing|ation|ations)$/, "iz$1");
  }

  /* The words of a text as they are compared: log_sum_exp is logsumexp, log, sum and exp; 自注意力, for want of
     spaces, is 自注, 注意 and 意力. */
  function wordsOf(text) {
    const plain = text.normalize("NFKC").replaceAll("√", " sqrt ").replace(/\^\(?/g, "");
    const parted = plain.replace(/([a-z]{3})([A-Z])/g, "$1-$2").toLowerCase();
    const apart = parted.replace(/\p{Script=Han}+/gu, " $& ");
    const runs = apart.match(/[\p{L}\p{N}]+(?:[_.’-][\p{L}\p{N}]+)*/gu);
    return (runs ?? []).flatMap((run) => (/\p{Script=Han}/u.test(run) ? pairs(run) : parts(run)));
  }

  function pairs(run) {
    return run.length === 1 ? [run] : [...run.slice(1)].map((sign, i) => run[i] + sign);
  }

  function parts(run) {
    const inner = run.split(/[_.’-]/);
    const long = inner.filter((part) => part.length > 1);
    return (inner.length > 1 ? [inner.join(""), ...long] : inner).map(stem);
  }

  function said(text) {
    return wordsOf(text).join(" ");
  }

  function spoken(text) {
    const all = wordsOf(text);
    const said = all.filter((word) => !SILENT.has(word));
    return said.length ? said : all;
  }

  function count(words) {
    const counts = new Map();
    for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
    return counts;
  }

  /* The lines with their words counted, and how many lines have each word. */
  function indexed(book) {
    const lines = book.lines.map(([page, anchor, name, words, code, also]) => {
      const fields = { name: spoken(name), also: also.flatMap(spoken), words: spoken(words), code: spoken(code) };
      const names = [...name.split(/ · |, /), ...also].map((one) => ({ words: spoken(one), said: said(one) }));
      return { page, anchor, name, text: words, names, length: fields.words.length, weights: weighted(fields) };
    });
    const having = count(lines.flatMap((line) => [...line.weights.keys()]));
    const mean = lines.reduce((sum, line) => sum + line.length, 0) / lines.length;
    const pages = book.pages.map(([path, title]) => ({ path, title, lines: [] }));
    for (const line of lines) pages[line.page].lines.push(line);
    for (const page of pages) page.has = new Set(page.lines.flatMap((line) => [...line.weights.keys()]));
    return { lines, pages, having, mean };
  }

  function weighted(fields) {
    const weights = new Map();
    for (const [field, words] of Object.entries(fields)) {
      for (const [word, n] of count(words)) weights.set(word, (weights.get(word) ?? 0) + n * WEIGHT[field]);
    }
    return weights;
  }

  /* How much a word says: the logarithm of how few lines have it. */
  function rarity(index, word) {
    const having = index.having.get(word) ?? 0;
    return Math.log(1 + (index.lines.length - having + 0.5) / (having + 0.5));
  }

  /* The words of a query, each with what may stand for it, and how well: itself, what it is with its neighbour (soft
     max), what means nearly the same; of a word that the book does not have, those that begin so, else those that are
     one slip away. */
  function asked(index, query) {
    const words = spoken(query).flatMap((word) => apart(index, word));
    const joined = words.map((word, i) => [word + words[i + 1], words[i - 1] + word]);
    const all = new Map(words.map((word, i) => [word, joined[i].filter((both) => index.having.has(both))]));
    return [...all].map(([word, both]) => {
      const found = index.having.has(word) ? [word] : slips(index, word);
      const as = new Map(likenesses(word).map((other) => [other, ALIKE]));
      for (const other of [...found, ...both]) as.set(other, 1);
      return { word, as, worth: found.length ? Math.min(...found.map((other) => rarity(index, other))) : both.length };
    });
  }

  /* Two words that somebody has written as one: kvcache where the book has no such word, flashattention though it has. */
  function apart(index, word) {
    if (!/^[a-z]+$/.test(word)) return [word];
    const known = index.having.has(word);
    const least = known ? 4 : 2;
    for (let i = least; i <= word.length - least; i++) {
      const two = [word.slice(0, i), word.slice(i)].map(stem);
      if (two.every((part) => index.having.has(part))) return known ? [word, ...two] : two;
    }
    return [word];
  }

  function slips(index, word) {
    const known = [...index.having.keys()];
    const begun = word.length > 2 ? known.filter((other) => other.startsWith(word)) : [];
    return begun.length || word.length < 4 ? begun : known.filter((other) => oneSlipAway(word, other));
  }

  /* From book/search_synonyms.toml, by way of the index. */
  const ALL_ALIKE = alike.map((group) => group.map(stem));

  function likenesses(word) {
    return ALL_ALIKE.filter((group) => group.includes(word)).flat();
  }

  /* A letter too many, too few, another one, or two that have changed places. */
  function oneSlipAway(a, b) {
    if (Math.abs(a.length - b.length) > 1) return false;
    let start = 0;
    while (start < a.length && a[start] === b[start]) start++;
    let end = 0;
    while (end < Math.min(a.length, b.length) - start && a.at(-1 - end) === b.at(-1 - end)) end++;
    const [left, right] = [a.slice(start, a.length - end), b.slice(start, b.length - end)];
    return Math.max(left.length, right.length) <= 1 || (left.length === 2 && left[0] === right[1] && left[1] === right[0]);
  }

  function lineScore(index, line, query) {
    let met = 0;
    const long = 1 - LENGTH + (LENGTH * line.length) / index.mean;
    for (const { as, worth } of query.words) {
      const weight = Math.max(0, ...[...as].map(([word, like]) => like * (line.weights.get(word) ?? 0))) / long;
      met += (worth * weight * (1 + RARE)) / (RARE + weight);
    }
    if (met === 0) return 0;
    return met / query.worth + NAMED * Math.max(...line.names.map((name) => nearness(index, name, query))) ** 2;
  }

  /* From 0 to 1: how much of the query is in the name, and of the name in the query; a little more, word by word. */
  function nearness(index, name, { words, worth, said }) {
    const shared = words.reduce((sum, word) => sum + word.worth * likeness(word, name.words), 0);
    const whole = [...new Set(name.words)].reduce((sum, word) => sum + rarity(index, word), 0);
    const within = name.words.length > 1 && shared >= 0.99 * whole ? WITHIN : 0;
    return Math.max((2 * shared) / (worth + whole), within) + (name.said === said ? VERBATIM : 0);
  }

  function likeness({ as }, words) {
    return Math.max(0, ...[...as].map(([word, like]) => (words.includes(word) ? like : 0)));
  }

  function total(words) {
    return words.reduce((sum, { worth }) => sum + worth, 0);
  }

  let made; // the index, once somebody asks

  /* The pages for a query, the best first, each with its best lines, and the words that were looked for. */
  function searchBook(text) {
    const index = (made ??= indexed(BOOK));
    const words = asked(index, text);
    const query = { words, worth: total(words), said: said(text) };
    if (query.worth === 0) return [];
    const found = index.pages.map(({ path, title, lines, has }) => {
      const scored = lines.map((line) => ({ line, score: lineScore(index, line, query) }));
      const best = scored.filter(({ score }) => score > 0).sort((a, b) => b.score - a.score);
      const there = words.filter(({ as }) => [...as.keys()].some((word) => has.has(word)));
      const standing = STANDING.find(([start]) => path.startsWith(start))[1];
      const score = best.length ? standing * (best[0].score + (TOGETHER * total(there)) / query.worth) : 0;
      const known = new Set(words.flatMap(({ as }) => [...as.keys()]));
      return { page: path, title, score, lines: best.slice(0, 3).map(({ line }) => line), known, all: lines };
    });
    return found.filter(({ score }) => score > 0).sort((a, b) => b.score - a.score);
  }

  /* What the reader sees ------------------------------------------------------------------------------------- */

  const SHOWN = 20; // pages
  const EXCERPT = 220; // letters

  function make(tag, className, ...children) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    element.append(...children);
    return element;
  }

  function linkTo(page, line, ...text) {
    const link = make("a", "", ...text);
    link.href = `${page}.html${line.anchor && `#${line.anchor}`}`;
    return link;
  }

  /* Where the words of the query stand in a text: [from, to, word]; single letters are not worth pointing at. */
  function places(text, known) {
    const runs = [...text.matchAll(/\p{Script=Han}{2}|[\p{L}\p{N}]{2,}/gu)];
    return runs.flatMap(({ 0: run, index }) => {
      const word = wordsOf(run).find((part) => known.has(part));
      return word ? [[index, index + run.length, word]] : [];
    });
  }

  /* The part of a text in which most of the words stand, with these marked. */
  function excerpt(text, known) {
    const all = places(text, known);
    const within = (start) => all.filter(([from, to]) => from >= start && to <= start + EXCERPT);
    const met = (start) => new Set(within(start).map(([, , word]) => word)).size;
    const starts = [0, ...all.map(([from]) => Math.max(0, from - 60))];
    const start = starts.reduce((best, next) => (met(next) > met(best) ? next : best));
    const from = start && text.indexOf(" ", start) + 1;
    const until = text.length <= from + EXCERPT ? text.length : text.lastIndexOf(" ", from + EXCERPT);
    const pieces = [from ? "… " : ""];
    let at = from;
    for (const [a, b] of all.filter(([a, b]) => a >= from && b <= until)) {
      pieces.push(text.slice(at, a), make("mark", "", text.slice(a, b)));
      at = b;
    }
    return [...pieces, text.slice(at, until), until < text.length ? " …" : ""];
  }

  /* One page: its best line with the words around what was asked, and what else on it may be meant. */
  function hit({ page, title, lines, known, all }) {
    const [best, ...more] = lines;
    const heading = make("h2", "", linkTo(page, best, title));
    if (best !== all[0]) heading.firstChild.append(" › ", make("span", "found-name", shown(best)));
    const item = make("li", "", heading);
    const told = best.text ? best : all.find((line) => line.text && line.anchor === best.anchor);
    if (told && (told === best || told !== all[0])) item.append(make("p", "", ...excerpt(told.text, known)));
    const others = more.filter((line) => line.anchor && line.anchor !== best.anchor);
    if (others.length) item.append(make("p", "found-more", ...others.map((line) => linkTo(page, line, shown(line)))));
    return item;
  }

  /* A line's name as a reader would say it: an equation by its function, which is its label in one word. */
  function shown({ name }) {
    const [said, called] = name.split(", ");
    return called && said.replaceAll(" ", "_") === called ? `Equation ${said}` : name.replaceAll("`", "");
  }

  function answer(text) {
    const pages = searchBook(text);
    const shownPages = pages.slice(0, SHOWN);
    const count = pages.length > SHOWN ? `The ${SHOWN} best of ${pages.length} pages.` : `${pages.length} pages.`;
    const says = pages.length ? count.replace("1 pages", "1 page") : "Nothing in the book has these words.";
    document.querySelector("#search-results").replaceChildren(
      Object.assign(make("p", "found-count", text.trim() ? says : ""), { role: "status" }),
      make("ol", "found", ...shownPages.map(hit)),
    );
  }

  /* The field of the page answers while one types; the address keeps what was asked. */
  function listen() {
    const field = document.querySelector(".bd-search-container input[name=q]");
    field.value = new URLSearchParams(location.search).get("q") ?? "";
    field.addEventListener("input", () => {
      history.replaceState(null, "", `?q=${encodeURIComponent(field.value)}`);
      answer(field.value);
    });
    answer(field.value);
  }

  globalThis.searchBook = searchBook;
  globalThis.document?.addEventListener("DOMContentLoaded", listen);
})();
