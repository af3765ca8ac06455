// Paper cannot be unfolded: print everything, then fold again what was folded.
const folded = [];
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details:not([open]):not(.cell)")) {
    folded.push(details);
    details.open = true;
  }
});
addEventListener("afterprint", () => {
  while (folded.length) folded.pop().open = false;
});
