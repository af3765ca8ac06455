// The notes of the timeline in the words of the page. What the service says has few forms; anything else stays as it is.

import { isChinese, t } from "./words.js";

const FORMS = [
  [/^(\d+) texts, (\d+) lists$/, "note_searched"],
  [/^(\d+) lists$/, "note_lists"],
  [/^read by (.+)$/, "note_read"],
  [/^none$/, "note_none"],
  [/^(rewrite|keep|clarify)$/, "note_decision"],
  [/^nothing to add$/, "note_nothing"],
  [/^not asked: no time left$/, "note_no_time"],
  [/^not asked: what was typed finds what it says$/, "note_found"],
  [/^not asked: (.+)$/, "note_not_asked"],
  [/^failed: (.+)$/, "note_failed"],
  [/^(rewrite|clarify) ([\d.]+)(?:, (\d+) edits dropped)?(?:: (.+))?$/, "note_judged"],
];

/** Return a stage's note as people read it. */
export const noted = (note) => note.split("; ").map(part).join(isChinese() ? "；" : "; ");

function part(text) {
  for (const [form, key] of FORMS) {
    const found = form.exec(text);
    if (found) return t(key, ...found.slice(1));
  }
  return text;
}
