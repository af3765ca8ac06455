// Runs before anything is painted: the theme and the language chosen last time, else those of the system.
{
  const kept = (name) => {
    try {
      return localStorage.getItem(`querywright.${name}`);
    } catch {
      return null; // storage is blocked: nothing is remembered
    }
  };
  const root = document.documentElement;
  root.dataset.theme = ["light", "dark"].includes(kept("theme")) ? kept("theme") : "auto";
  root.lang = (kept("language") ?? navigator.language ?? "en").startsWith("zh") ? "zh-CN" : "en";
}
