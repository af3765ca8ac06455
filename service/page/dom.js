// Elements are made here and nowhere else. Whatever comes from outside becomes a text node, never markup.

/** Make an element: listeners under "onclick" and the like, attributes otherwise; true is an empty one, null is none. */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
}

export const $ = (id) => document.getElementById(id);

/** Remember a choice; where storage is blocked it lasts as long as the page. */
export function keep(name, value) {
  try {
    localStorage.setItem(`querywright.${name}`, value);
  } catch {
    // nothing to be done, and nothing is lost but the choice
  }
}

/** Return what was remembered, or null. */
export function kept(name) {
  try {
    return localStorage.getItem(`querywright.${name}`);
  } catch {
    return null;
  }
}
