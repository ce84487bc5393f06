// Two systems' rankings of the chosen query beside each other. The data are in this page; nothing is loaded.
// Texts of strangers are set as text, never as markup.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const at = id => document.getElementById(id);
const choice = {a: data.pair[0], b: data.pair[1], measure: 0, query: null};

function made(tag, parent, text = "", kind = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  if (kind) element.className = kind;
  parent.append(element);
  return element;
}

const signed = x => (x > 0 ? "+" : x < 0 ? "−" : "±") + Math.abs(x).toFixed(3);
const shown = x => x === null ? "–" : x.toFixed(3);
const value = (query, system) => query.values[choice.measure][system];
const kind = x => x > 0 ? "up" : x < 0 ? "down" : "";

// By how much B is better than A; null where one of them has no value.
function apart(query) {
  const a = value(query, choice.a), b = value(query, choice.b);
  return a === null || b === null ? null : b - a;
}

// --- the list of queries ---

function ordered() {
  const words = at("find").value.trim().toLowerCase(), order = at("order").value;
  const found = data.queries.filter(query => `${query.qid} ${query.query}`.toLowerCase().includes(words));
  const key = {apart: d => Math.abs(d), a: d => -d, b: d => d}[order];
  return key ? found.sort((x, y) => key(apart(y) ?? 0) - key(apart(x) ?? 0)) : found;
}

function listQueries() {
  const table = document.createElement("table"), head = made("tr", made("thead", table)), body = made("tbody", table);
  const queries = ordered();
  made("th", head, queries.length === data.queries.length ? `${queries.length} queries`
    : `${queries.length} of ${data.queries.length} queries`);
  for (const name of ["A", "B", "B − A"]) made("th", head, name);
  for (const query of queries) {
    const row = made("tr", body), difference = apart(query);
    const button = made("button", made("td", row, "", "wide"), query.query);
    button.type = "button";
    button.tabIndex = -1;
    button.onclick = () => choose(query);
    row.query = query;
    made("td", row, shown(value(query, choice.a)));
    made("td", row, shown(value(query, choice.b)));
    made("td", row, difference === null ? "–" : signed(difference), kind(difference));
  }
  at("queries").replaceChildren(table);
  if (queries.length && !queries.includes(choice.query)) choose(queries[0]);
  else mark();
}

const rows = () => [...at("queries").querySelectorAll("tbody tr")];

// The chosen query is the one that the tabulator key reaches; arrows go on from it.
function mark() {
  for (const row of rows()) {
    const button = row.querySelector("button"), chosen = row.query === choice.query;
    button.tabIndex = chosen ? 0 : -1;
    if (chosen) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    if (chosen) reveal(row);
  }
}

// Scrolls the list, and not the page.
function reveal(row) {
  const box = at("queries"), top = row.offsetTop - box.querySelector("thead").offsetHeight;
  if (top < box.scrollTop) box.scrollTop = top;
  const bottom = row.offsetTop + row.offsetHeight - box.clientHeight;
  if (bottom > box.scrollTop) box.scrollTop = bottom;
}

function choose(query) {
  choice.query = query;
  mark();
  showQuery();
}

function walk(event) {
  const step = {ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8, Home: -Infinity, End: Infinity}[event.key];
  if (step === undefined) return;
  event.preventDefault();
  const all = rows(), now = all.findIndex(row => row.query === choice.query);
  const next = all[Math.max(0, Math.min(all.length - 1, now + step))];
  if (!next) return;
  choose(next.query);
  next.querySelector("button").focus({preventScroll: true});
}

// --- one query ---

function showQuery() {
  const query = choice.query, box = at("query");
  at("asked").textContent = query.query;
  box.replaceChildren();
  const relevant = query.relevant === 1 ? "1 relevant document" : `${query.relevant} relevant documents`;
  made("p", box, `Query ${query.qid}. ${relevant}, with a label of at least 1.`, "soft");
  const pair = made("div", box, "", "pair");
  const sides = [["A", choice.a, "B", choice.b], ["B", choice.b, "A", choice.a]];
  for (const side of sides.slice(0, data.systems.length > 1 ? 2 : 1)) pair.append(ranking(query, ...side));
}

function ranking(query, letter, system, otherLetter, other) {
  const box = document.createElement("section"), head = made("h4", box);
  made("span", head, letter, "letter");
  made("span", head, data.systems[system], "name");
  const own = value(query, system);
  made("span", head, `${data.measures[choice.measure]} ${shown(own)}`, "value");
  made("p", box, reached(query, system), "soft");
  const order = query.docs.map((_, i) => i).filter(i => within(query.ranks[system][i]));
  order.sort((i, j) => query.ranks[system][i] - query.ranks[system][j]);
  if (!order.length) made("p", box, "Nothing was found.");
  const digits = decimals(order.map(i => query.scores[system][i]));
  const list = made("ol", box);
  for (const i of order) {
    const item = made("li", list), score = query.scores[system][i];
    item.dataset.doc = query.docs[i];
    const match = query.matches && within(query.ranks[system][i], data.aligned) ? query.matches[i] : null;
    const details = match ? made("details", item) : item;
    const line = made(match ? "summary" : "div", details, "", "line");
    made("span", line, query.ranks[system][i], "rank");
    made("span", line, data.docs[query.docs[i]][0], "docno");
    made("span", line, typeof score === "number" ? score.toFixed(digits) : score.replace("inf", "∞"), "score");
    made("span", line, ...judged(query.labels[i]));
    if (data.systems.length > 1) moved(line, query.ranks[system][i], query.ranks[other][i], otherLetter);
    if (match) aligned(line, details, query, i, match);
    else if (data.docs[query.docs[i]][1]) made("p", line, data.docs[query.docs[i]][1], "text").dir = "auto";
  }
  return box;
}

const within = (rank, depth = data.depth) => rank > 0 && rank <= depth;

function judged(label) {
  if (label === null) return ["unjudged", "label"];
  return label > 0 ? [`relevant ${label}`, "label relevant"] : [`label ${label}`, "label other"];
}

// Where the other system has the document, and by how many places that is worse (▲) or better (▼) than here.
function moved(line, here, there, letter) {
  const box = made("span", line, "", "moved");
  if (!there) { made("span", box, `not in ${letter}`, "soft"); return; }
  const places = there - here;
  if (places) made("span", box, (places > 0 ? "▲" : "▼") + Math.abs(places), kind(places));
  made("span", box, places ? ` rank ${there} in ${letter}` : `= ${letter}`, "soft");
}

function reached(query, system) {
  const ranks = query.reached[system];
  if (!query.relevant) return "No relevant document is judged.";
  if (!ranks.length) return "No relevant document was found.";
  const some = ranks.length < query.relevant ? ` (${ranks.length} of ${query.relevant})` : "";
  return `Relevant at ${ranks.length > 1 ? "ranks" : "rank"} ${ranks.join(", ")}${some}`;
}

// As many digits behind the point as the largest score has room for: four that count.
function decimals(scores) {
  const largest = Math.max(...scores.filter(score => typeof score === "number").map(Math.abs), 1e-9);
  return Math.max(0, Math.min(8, 3 - Math.floor(Math.log10(largest))));
}

// --- the alignment of a query with a document ---

function aligned(line, details, query, i, match) {
  const text = made("p", line, "", "text"), parts = data.docs[query.docs[i]][2];
  text.dir = "auto";
  const shares = parts.map(() => 0), same = parts.map(() => false), tips = parts.map(() => []);
  match.forEach(([part, , share, exact], row) => {
    if (part < 0) return;
    shares[part] += share;
    same[part] ||= exact === 1;
    tips[part].push(`${query.tokens[row]} ${share.toFixed(0)} %`);
  });
  const strongest = Math.max(...match.map(([, , share]) => share), 1e-9);
  parts.forEach((part, number) => {
    if (shares[number] <= 0) { text.append(part); return; }
    const blank = part.length - part.trimStart().length;
    text.append(part.slice(0, blank));
    const mark = made("mark", text, part.slice(blank), same[number] ? "exact" : "near");
    mark.title = tips[number].join(", ");
    mark.dataset.part = number;
    mark.style.setProperty("--share", Math.min(1, shares[number] / strongest).toFixed(2));
  });
  details.append(tokens(query, parts, match));
}

function tokens(query, parts, match) {
  const table = document.createElement("table"), head = made("tr", made("thead", table)), body = made("tbody", table);
  for (const name of ["query", "met", "similarity", "share"]) made("th", head, name);
  const largest = Math.max(...match.map(([, , share]) => share), 1e-9);
  match.forEach(([part, similarity, share, exact], row) => {
    if (part < 0) return;
    const line = made("tr", body);
    line.dataset.part = part;
    made("td", line, query.tokens[row]);
    made("td", line, (exact ? "" : "≈ ") + parts[part].trim(), exact ? "exact" : "near");
    made("td", line, similarity.toFixed(2));
    made("td", line, `${share.toFixed(1)} %`, "share").style.setProperty("--share", Math.max(0, share / largest).toFixed(3));
  });
  return table;
}

// --- what the pointer or the keyboard is at shows the same document on the other side, and the token in its text ---

function point(event) {
  const item = event.target.closest("li"), row = event.target.closest("[data-part]");
  for (const other of at("query").querySelectorAll("li")) other.classList.toggle("same", other.dataset.doc === item?.dataset.doc);
  for (const piece of at("query").querySelectorAll("[data-part]"))
    piece.classList.toggle("met", row !== null && piece.closest("li") === item && piece.dataset.part === row.dataset.part);
}

// --- beginning ---

function changed() {
  for (const name of ["a", "b", "measure"]) choice[name] = Number(at(name).value);
  listQueries();
  showQuery();
}

function jump(event) {
  const button = event.target.closest("button.jump");
  if (!button) return;
  at("a").value = data.pair[0];
  at("b").value = button.dataset.system;
  at("find").value = "";
  choice.query = data.queries[button.dataset.query];
  changed();
  at("rankings").scrollIntoView();
  at("queries").querySelector("[aria-current]").focus({preventScroll: true});
}

at("a").value = choice.a;
at("b").value = choice.b;
at("b").closest("label").hidden = data.systems.length < 2;
for (const name of ["a", "b", "measure"]) at(name).onchange = changed;
for (const name of ["order", "find"]) at(name).oninput = listQueries;
at("choice").onsubmit = event => event.preventDefault();
at("queries").onkeydown = walk;
at("query").onmouseover = at("query").onfocusin = point;
document.addEventListener("click", jump);
at("side").hidden = false;
listQueries();
