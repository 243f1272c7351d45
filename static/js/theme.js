// The theme, before anything is painted: the person's choice, else the system's. Kept as the admin keeps
// its own, so that both look alike: "auto" is the system's.
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const paper = matchMedia("print");
  const names = { auto: "system", light: "light", dark: "dark" };
  const choices = Object.keys(names);

  const stored = () => {
    try {
      const choice = localStorage.getItem("theme");
      return choices.includes(choice) ? choice : "auto";
    } catch {
      return "auto";
    }
  };

  const apply = (choice) => {
    root.dataset.theme = choice;
    const shown = choice === "auto" ? (dark.matches ? "dark" : "light") : choice;
    root.dataset.bsTheme = paper.matches ? "light" : shown;
    for (const button of document.querySelectorAll("[data-theme-switch]")) {
      button.title = `Theme: ${names[choice]}`;
      button.setAttribute("aria-label", button.title);
    }
  };

  root.classList.add("js");
  apply(stored());
  dark.addEventListener("change", () => apply(stored()));
  paper.addEventListener("change", () => apply(stored()));
  addEventListener("storage", () => apply(stored()));
  document.addEventListener("DOMContentLoaded", () => apply(stored()));
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-theme-switch]")) return;
    const next = choices[(choices.indexOf(stored()) + 1) % choices.length];
    try {
      localStorage.setItem("theme", next);
    } catch {
      // Private mode: the choice lasts as long as the page.
    }
    apply(next);
  });
})();
