// The card that says where an edit comes from, shown while a part of it has the pointer or the focus.

import { place } from "./edits.js";
import { $, el } from "./dom.js";
import { t } from "./words.js";

const LINGER = 150; // ms, so that the pointer can move from the text to the card

/** Return what shows the card: `watch(node, edit, index, request)`. `pointing` shows the place in the conversation. */
export function evidence(pointing) {
  const card = $("evidence");
  let at = null;
  let timer = 0;

  function show(node, edit, index, request) {
    hide();
    at = node;
    card.replaceChildren(...content(edit, request));
    card.className = edit.problem;
    card.hidden = false;
    move(card, node);
    node.setAttribute("aria-describedby", card.id);
    document.querySelectorAll(`[data-edit="${index}"]`).forEach((part) => part.classList.add("on"));
    pointing.point(edit.evidence, edit.problem);
  }

  function hide() {
    clearTimeout(timer);
    at?.removeAttribute("aria-describedby");
    at = null;
    card.hidden = true;
    document.querySelectorAll("[data-edit].on").forEach((part) => part.classList.remove("on"));
    pointing.unpoint();
  }

  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(() => at !== document.activeElement && hide(), LINGER);
  };
  card.addEventListener("mouseenter", () => clearTimeout(timer));
  card.addEventListener("mouseleave", later);
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
  addEventListener("resize", () => at && move(card, at));

  function watch(node, edit, index, request) {
    const now = () => show(node, edit, index, request);
    for (const event of ["mouseenter", "focus", "click"]) node.addEventListener(event, now);
    node.addEventListener("mouseleave", later);
    node.addEventListener("blur", hide);
    node.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      card.hidden ? now() : hide();
    });
  }
  return { watch, hide };
}

function content(edit, request) {
  const { source, where, text } = edit.evidence;
  const row = (name, ...value) => [el("dt", {}, t(name)), el("dd", {}, ...value)];
  const was = Array.from(request.query).slice(edit.start, edit.end).join("");
  const days = edit.interval ? row("days", t("days_of", edit.interval.first, lastDay(edit.interval.end))) : [];
  return [
    el("p", { class: "from" }, from(edit.evidence, request)),
    source === "clock" || source === "default" ? null : el("blockquote", {}, text),
    el(
      "dl",
      {},
      row("change", was ? el("del", {}, was) : el("em", {}, t("inserted")), " → ", el("ins", {}, edit.replacement.trim() || t("removed"))),
      row("kind", t(edit.problem)),
      row("slot", el("code", {}, edit.slot)),
      row("where", el("code", {}, where), source === "clock" || source === "default" ? el("code", {}, ` ${text}`) : ""),
      days,
      row("sureness", bar(edit.confidence)),
    ),
  ].filter(Boolean);
}

/** An interval ends before its `end`: people name the last day that is in it. */
function lastDay(end) {
  const day = new Date(`${end}T00:00:00Z`);
  day.setUTCDate(day.getUTCDate() - 1);
  return Number.isNaN(day.valueOf()) ? end : day.toISOString().slice(0, 10);
}

/** Return a share as a bar with its figure. */
export function bar(share) {
  const filled = el("span", { class: "filled" });
  filled.style.setProperty("--share", share);
  return el("span", { class: "share" }, el("span", { class: "track", "aria-hidden": "true" }, filled), share.toFixed(2));
}

function from(evidence, request) {
  const { turn, key } = place(evidence);
  const said = request.history?.[turn];
  if (evidence.source === "history") return said ? t("from_history", turn + 1, t(said.role)) : t("from_answer");
  return evidence.source === "profile" ? t("from_profile", key ?? evidence.where) : t(`from_${evidence.source}`);
}

/** Say in a word where an edit comes from. */
export function brief(evidence, request) {
  if (evidence.source !== "history") return t(`short_${evidence.source}`);
  const { turn } = place(evidence);
  return turn < (request.history?.length ?? 0) ? t("short_history", turn + 1) : t("short_answer");
}

/** Put the card under `node`, above where there is no room, never beyond the window's sides. */
function move(card, node) {
  const [first] = node.getClientRects();
  const under = node.querySelector("rt")?.getBoundingClientRect() ?? first;
  const width = document.documentElement.clientWidth;
  const left = Math.max(8, Math.min(first.left, width - card.offsetWidth - 8));
  const fits = under.bottom + card.offsetHeight + 12 < innerHeight || first.top < card.offsetHeight + 12;
  const top = fits ? under.bottom + 6 : first.top - card.offsetHeight - 6;
  card.style.setProperty("left", `${left + scrollX}px`);
  card.style.setProperty("top", `${top + scrollY}px`);
}
