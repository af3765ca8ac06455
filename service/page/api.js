// The service, as the page calls it. Addresses are relative: a proxy may serve it all under a path of its own.

import { t } from "./words.js";

/** What went wrong, in words: a problem document of the service, or no answer at all. */
export class Problem extends Error {
  constructor({ title, detail, status = 0, retryAfter = null }) {
    super(detail);
    Object.assign(this, { title, detail, status, retryAfter });
  }
}

/** Call a route; return what it answers, null where that is nothing. Throws Problem. */
export async function call(path, options = {}) {
  const response = await send(path, options);
  return response.status === 204 ? null : await read(response);
}

/** Put an object into the body of a request. */
export const json = (value, options = {}) => ({
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify(value),
  ...options,
});

/**
 * Ask a query and tell how it goes: `on(name, data)` hears of "stage", "hits" (of the original) and "rewrite" as they
 * come. Returns the answer. Throws Problem, or AbortError when `signal` says so.
 */
export async function ask(request, on, signal) {
  const response = await send("v1/query/stream", json(request, { signal }));
  for await (const { event, data } of events(response.body)) {
    if (event === "answer") return data;
    if (event === "problem") throw new Problem(data);
    on(event, data);
  }
  return broken();
}

/** Return where a route is; a key that stands in the page's own address stays out of it. */
export function address(path) {
  const base = new URL(document.baseURI);
  base.username = base.password = "";
  return new URL(path, base).href;
}

async function send(path, options) {
  let response;
  try {
    response = await fetch(address(path), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ title: t("unreachable"), detail: t("unreachable_detail") });
  }
  if (response.ok) return response;
  throw new Problem(await told(response));
}

async function told(response) {
  const problem = await response.json().catch(() => ({}));
  const busy = response.status === 503 || response.status === 429;
  return {
    title: problem.title ?? response.statusText,
    detail: response.status === 401 ? t("no_key") : (problem.detail ?? ""),
    status: response.status,
    retryAfter: busy ? Math.max(1, Number(response.headers.get("retry-after")) || 1) : null,
  };
}

const read = (response) => response.json().catch(broken);

/** Throw the Problem of an answer that ended too early, or the AbortError that ended it. */
function broken(error) {
  if (error?.name === "AbortError") throw error;
  throw new Problem({ title: t("broken_stream"), detail: t("unreachable_detail") });
}

/** Read server-sent events, each {event, data} with its data as JSON. Throws Problem where they cannot be read. */
async function* events(body) {
  let buffer = "";
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { value, done } = await reader.read().catch(broken);
    if (done) return;
    const blocks = (buffer + value).replaceAll("\r\n", "\n").split("\n\n");
    buffer = blocks.pop();
    for (const block of blocks) {
      const fields = Object.groupBy(block.split("\n"), (line) => line.split(":", 1)[0]);
      const text = (name) => (fields[name] ?? []).map((line) => line.slice(name.length + 1).replace(/^ /, "")).join("\n");
      if (fields.data) yield { event: text("event") || "message", data: parsed(text("data")) };
    }
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    return broken(error);
  }
}

/** Say whether the service asks for keys. */
export const guarded = async () => Boolean((await call("openapi.json")).security?.length);

/** Return a request as a command for a shell; one `withKey` takes it from the shell's environment. */
export function curl(path, request, withKey) {
  const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
  const key = withKey ? ` -H "authorization: Bearer $QUERYWRIGHT_KEY"` : "";
  return `curl -s ${quoted(address(path))} -H 'content-type: application/json'${key} -d ${quoted(JSON.stringify(request, null, 2))}`;
}
