// What went wrong, in words, and a way to try again.

import { el } from "./dom.js";
import { known, t } from "./words.js";

/** Return the notice of a Problem; `again` is what its button does, after the wait that a busy service asks for. */
export function problemView({ title, detail, status, retryAfter }, again) {
  const button = el("button", { type: "button", class: "small", onclick: again }, t("try_again"));
  if (retryAfter) wait(button, retryAfter);
  const name = known(`problem_${status}`) ? t(`problem_${status}`) : title;
  return el(
    "div",
    { class: "notice error", role: "alert" },
    el("p", {}, el("strong", {}, name), status ? el("code", {}, ` ${status}`) : null),
    detail ? el("p", {}, detail) : null,
    button,
  );
}

function wait(button, seconds) {
  const until = performance.now() + seconds * 1000;
  button.disabled = true;
  const tick = () => {
    const left = Math.ceil((until - performance.now()) / 1000);
    button.disabled = left > 0;
    button.textContent = left > 0 ? t("try_in", left) : t("try_again");
    if (left > 0 && button.isConnected) setTimeout(tick, 200);
  };
  setTimeout(tick); // when it is on the page
  button.textContent = t("try_in", seconds);
}
