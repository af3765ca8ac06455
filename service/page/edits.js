// What was changed where. Edits count code points, JavaScript's strings count UTF-16 units.

/**
 * Cut the original and the rewrite into pieces: {text, edit}, where `edit` is the index of the edit that a piece belongs
 * to, null where nothing was changed. Edits at one place apply in their order. A rewrite that is not what its edits
 * make of the original is one piece.
 */
export function pieces({ original, rewrite, edits }) {
  const points = Array.from(original);
  const order = edits.map((edit, index) => ({ ...edit, index }));
  order.sort((one, other) => one.start - other.start || one.end - other.end);
  const [before, after] = [[], []];
  let at = 0;
  for (const { start, end, replacement, index } of order) {
    if (start < at || end < start || end > points.length) return whole(original, rewrite);
    const same = points.slice(at, start).join("");
    if (same) [before, after].forEach((list) => list.push({ text: same, edit: null }));
    before.push({ text: points.slice(start, end).join(""), edit: index });
    after.push({ text: replacement, edit: index });
    at = end;
  }
  const rest = points.slice(at).join("");
  if (rest) [before, after].forEach((list) => list.push({ text: rest, edit: null }));
  return after.map((piece) => piece.text).join("") === rewrite ? { before, after } : whole(original, rewrite);
}

const whole = (original, rewrite) => ({
  before: [{ text: original, edit: null }],
  after: [{ text: rewrite, edit: null }],
});

/** Return what `where` of an evidence points at: {turn: 0}, {key: "region", index: 0}, {clock: true} or {}. */
export function place({ source, where }) {
  if (source === "history") {
    const turn = /^history\[(\d+)\]/.exec(where);
    return turn ? { turn: Number(turn[1]) } : {};
  }
  if (source === "profile") {
    const value = /^profile\.(.*?)(?:\[(\d+)\])?$/s.exec(where);
    return value ? { key: value[1], index: Number(value[2] ?? 0) } : {};
  }
  return source === "clock" ? { clock: true } : {};
}
