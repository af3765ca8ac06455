// Results side by side, and how the rewrite moved them.

import { el } from "./dom.js";
import { t } from "./words.js";

/** Return both lists of results, null where they are still to come; one alone where only the original was searched. */
export function results(original, rewritten, rewrite) {
  const [before, after] = [ranks(original), ranks(rewritten)];
  if (original && rewritten && isTyped(rewrite) && same(before, after)) {
    return el("div", { class: "sides one" }, side("results", null, rewritten, () => null));
  }
  const title = rewrite?.alternatives.length ? "results_readings" : "results_rewritten";
  const left = side("results_typed", null, original, (hit) => (rewritten ? leftOut(after.get(name(hit))) : null));
  const right = side(title, "results_note", rewritten, (hit) => (original ? moved(before.get(name(hit)), hit.rank) : null));
  const sides = el("div", { class: "sides" }, left, right);
  for (const event of ["mouseover", "focusin"]) sides.addEventListener(event, (found) => twin(sides, found.target));
  for (const event of ["mouseleave", "focusout"]) sides.addEventListener(event, () => twin(sides, null));
  return sides;
}

const isTyped = (rewrite) => rewrite.decision === "keep" || (rewrite.rewrite === rewrite.original && !rewrite.alternatives.length);
const name = (hit) => JSON.stringify([hit.collection, hit.passage_id]);
const ranks = (hits) => new Map((hits ?? []).map((hit) => [name(hit), hit.rank]));
const same = (one, other) => one.size === other.size && [...one].every(([key, rank]) => other.get(key) === rank);

function side(title, note, hits, mark) {
  const head = el("h3", {}, t(title), note ? el("small", {}, t(note)) : null);
  if (!hits) return el("section", { class: "side" }, head, el("p", { class: "quiet" }, t("searching")));
  if (!hits.length) return el("section", { class: "side" }, head, el("p", { class: "quiet" }, t("nothing_found")));
  return el("section", { class: `side ${title}` }, head, el("ol", { class: "hits" }, hits.map((hit) => row(hit, mark(hit)))));
}

function row(hit, mark) {
  const more = Object.entries(hit.metadata ?? {}).map(([key, value]) => `${key} = ${[value].flat().join(", ")}`);
  return el(
    "li",
    { class: "hit", "data-hit": name(hit) },
    el(
      "details",
      {},
      el(
        "summary",
        {},
        el("span", { class: "rank" }, String(hit.rank)),
        el("span", { class: "title" }, hit.title || hit.doc_id),
        mark,
        el("span", { class: "snippet" }, hit.text),
      ),
      el(
        "div",
        { class: "whole" },
        el("p", {}, hit.text),
        el("p", { class: "facts" }, [hit.passage_id, `${t("score")} ${hit.score.toFixed(3)}`, hit.collection, ...more].filter(Boolean).join(" · ")),
      ),
    ),
  );
}

function moved(before, rank) {
  if (before === undefined) return badge("gain", t("new"), t("new_label"));
  const by = before - rank;
  if (by === 0) return badge("same", "=", t("same"));
  return by > 0 ? badge("gain", `↑${by}`, t("up", by)) : badge("loss", `↓${-by}`, t("down", -by));
}

const leftOut = (after) => (after === undefined ? badge("loss", t("out"), t("out_label")) : null);

const badge = (kind, text, label) => el("span", { class: `moved ${kind}`, role: "img", "aria-label": label, title: label }, text);

/** Mark the same passage on the other side. */
function twin(sides, target) {
  const key = target?.closest?.("[data-hit]")?.dataset.hit;
  for (const hit of sides.querySelectorAll("[data-hit]")) hit.classList.toggle("twin", hit.dataset.hit === key);
}
