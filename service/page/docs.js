// The reference: every route, drawn from the service's own description of itself.

import { address, call } from "./api.js";
import { $, el } from "./dom.js";
import { problemView } from "./problem.js";
import { frame, onLanguage, t, translate } from "./words.js";

const GROUPS = [
  ["group_asking", /^\/v1\/(query|search|rewrite)/],
  ["group_collections", /^\/v1\/collections/],
  ["group_service", /./],
];
const DEEP = 4; // levels of a schema that are shown
const METHODS = ["get", "put", "post", "delete", "patch"];

/** Return the routes by group, each {method, path, id, ...its description}. */
function routes(api) {
  const all = Object.entries(api.paths).flatMap(([path, methods]) =>
    METHODS.filter((method) => methods[method]).map((method) => ({ method, path, id: `${method}${path}`, ...methods[method] })),
  );
  const group = (route) => GROUPS.find(([, pattern]) => pattern.test(route.path))[0];
  return GROUPS.map(([name]) => [name, all.filter((route) => group(route) === name)]).filter(([, found]) => found.length);
}

const method = (route) => el("span", { class: `method ${route.method}` }, route.method.toUpperCase());

function list(groups) {
  const link = (route) => el("a", { href: `#${route.id}` }, method(route), el("span", { class: "path" }, route.path));
  return groups.flatMap(([name, found]) => [el("h2", {}, t(name)), ...found.map(link)]);
}

function section(route, api, collection) {
  const bodies = Object.entries(route.requestBody?.content ?? {});
  return el(
    "section",
    { class: "route", id: route.id },
    el("h2", {}, method(route), el("code", {}, route.path)),
    el("p", {}, route.summary),
    route.description ? el("p", { class: "quiet" }, route.description) : null,
    route.parameters?.length ? [el("h3", {}, t("parameters")), parameters(route.parameters, api)] : null,
    bodies.map(([type, content]) => body(type, content, api)),
    el("h3", {}, t("responses")),
    replies(route.responses),
    tryout(route, bodies, api, collection),
  );
}

// ----------------------------------------------------------------------------------------- schemas

/** Follow a reference within the description. */
function resolved(schema, api) {
  const parts = schema?.$ref?.split("/").slice(1);
  return parts ? resolved(parts.reduce((node, part) => node?.[part], api), api) : (schema ?? {});
}

/** Say in a few words what a value may be. */
function type(schema, api) {
  const found = resolved(schema, api);
  const several = found.anyOf ?? found.oneOf;
  if (several) return [...new Set(several.map((each) => type(each, api)))].join(" | ");
  if (found.enum) return found.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (found.const !== undefined) return JSON.stringify(found.const);
  if (found.type === "array") return `[${type(found.items, api)}]`;
  const [low, high] = [found.minimum, found.maximum];
  const range = low !== undefined && high !== undefined ? ` ${low}…${high}` : "";
  return `${found.type ?? "any"}${range}`;
}

/** Return the object that a schema holds, itself, as an element of an array or as one of several. */
function inner(schema, api) {
  const found = resolved(schema, api);
  if (found.properties) return found;
  return [found.items, ...(found.anyOf ?? [])].filter(Boolean).map((each) => inner(each, api)).find(Boolean);
}

function fields(schema, api, depth = 0) {
  const object = inner(schema, api);
  return Object.entries(object?.properties ?? {}).flatMap(([name, field]) => [
    row(name, field, object.required?.includes(name), api, depth),
    ...(depth < DEEP ? fields(field, api, depth + 1) : []),
  ]);
}

function row(name, schema, required, api, depth = 0, where = null) {
  const found = resolved(schema, api);
  const cell = el("span", { class: "nested" }, name, required ? el("span", { class: "must" }, t("required")) : null);
  cell.style.setProperty("--depth", depth);
  const given = schema.default ?? found.default;
  const said = [where && t(`in_${where}`), schema.description ?? found.description, given != null && t("default_is", JSON.stringify(given))];
  return el("tr", {}, el("td", {}, cell), el("td", {}, el("code", {}, type(schema, api))), el("td", {}, said.filter(Boolean).join("; ")));
}

function table(rows) {
  const head = ["field", "type", "meaning"].map((key) => el("th", { scope: "col" }, t(key)));
  return el("div", { class: "scroll" }, el("table", { class: "schema" }, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows)));
}

const parameters = (found, api) =>
  table(found.map((each) => row(each.name, { description: each.description, ...each.schema }, each.required, api, 0, each.in)));

function body(media, content, api) {
  const rows = fields(content.schema, api);
  const shown = samples(content);
  return [
    el("h3", {}, t("body"), el("small", {}, el("code", {}, media))),
    rows.length ? table(rows) : null,
    shown.map(({ name, text }) => [el("h3", {}, t("example"), name ? el("small", {}, name) : null), el("pre", { tabindex: 0 }, text)]),
  ];
}

/** Return the examples of a body as {name, text}. */
function samples({ schema, example, examples }) {
  const written = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));
  if (examples && !Array.isArray(examples)) return Object.entries(examples).map(([name, each]) => ({ name, text: written(each.value) }));
  return [example, ...(examples ?? schema?.examples ?? [])].filter((each) => each !== undefined).map((each) => ({ text: written(each) }));
}

function replies(found) {
  const row = ([status, { description, content }]) => [el("dt", {}, status), el("dd", {}, description, " ", el("code", { class: "quiet" }, Object.keys(content ?? {}).join(", ")))];
  return el("dl", { class: "replies" }, Object.entries(found).map(row));
}

// ----------------------------------------------------------------------------------------- trying

/** Return a form that calls a route. What only reads or asks is filled in with a `collection` that there is. */
function tryout(route, bodies, api, collection) {
  const asked = (route.parameters ?? []).map((each) => ({ ...each, input: el("input", { type: "text", required: each.required, autocomplete: "off" }) }));
  const [media, content] = bodies[0] ?? [];
  const area = media ? el("textarea", { spellcheck: "false", "aria-label": t("body") }) : null;
  if (area) area.value = filled(samples(content)[0]?.text ?? "", content.schema, api, collection);
  const name = asked.find((each) => each.in === "path" && each.name === "name");
  if (name && route.method === "get") name.input.value = collection ?? "";
  const said = el("div", { role: "status" });
  async function send(event) {
    event.preventDefault();
    const of = (where) => asked.filter((each) => each.in === where && each.input.value);
    const path = of("path").reduce((made, { name, input }) => made.replace(`{${name}}`, encodeURIComponent(input.value)), route.path);
    const search = new URLSearchParams(of("query").map(({ name, input }) => [name, input.value])).toString();
    const headers = Object.fromEntries(of("header").map(({ name, input }) => [name, input.value]));
    if (media) headers["content-type"] = media;
    try {
      const response = await fetch(address(path.slice(1)) + (search && `?${search}`), { method: route.method.toUpperCase(), headers, body: area?.value });
      said.replaceChildren(el("p", {}, el("code", {}, `${response.status} ${response.statusText}`)), el("pre", { tabindex: 0 }, pretty(await response.text())));
    } catch {
      said.replaceChildren(el("p", { class: "failed" }, t("unreachable")));
    }
  }
  const labels = asked.map((each) => el("label", {}, each.name, each.input));
  const form = el("form", { onsubmit: send }, labels, area, el("button", { type: "submit" }, t("send")));
  return el("details", { class: "tryout" }, el("summary", {}, t("try_it")), form, said);
}

/** Put the collection into the example of a body that can name one. */
function filled(text, schema, api, collection) {
  if (!collection || !text || !inner(schema, api)?.properties.collection) return text;
  return JSON.stringify({ ...JSON.parse(text), collection }, null, 2);
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

// ------------------------------------------------------------------------------------------- page

/** Return the collection that the examples are about, else any, none where they cannot be listed. */
async function existing() {
  const names = (await call("v1/collections").catch(() => [])).map(({ name }) => name);
  return names.includes("demo") ? "demo" : names[0];
}

async function draw() {
  try {
    const api = await call("openapi.json");
    const groups = routes(api);
    const collection = await existing();
    $("list").replaceChildren(...list(groups));
    const intro = el("p", {}, t("reference_intro"), " ", el("a", { href: "openapi.json" }, "openapi.json"), ` · ${api.info.version}`);
    $("routes").replaceChildren(intro, ...groups.flatMap(([, found]) => found.map((route) => section(route, api, collection))));
    translate(document);
  } catch (problem) {
    $("routes").replaceChildren(problemView(problem, draw));
  }
}

frame();
onLanguage(draw);
await draw();
document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
document.documentElement.dataset.ready = "";
