// Keys for those who know them; off while typing, with a modifier, or while a dialog is open.
// "/" search, j and k move, x select, Enter open, r refresh, "g h" home, "g a" accounts, ? help.
(() => {
  const GO_WITHIN_MS = 1500;
  const help = document.getElementById("keyboard-help");
  let goAt = 0;
  let currentId = null;

  const rows = () => [...document.querySelectorAll("[data-row]")];
  const current = () => document.getElementById(currentId ?? "");

  const mark = (row) => {
    current()?.classList.remove("is-current");
    currentId = row.id;
    row.classList.add("is-current");
    row.scrollIntoView({ block: "nearest" });
    row.querySelector("a")?.focus({ preventScroll: true });
  };

  const move = (step) => {
    const all = rows();
    if (!all.length) return;
    const at = all.indexOf(current());
    mark(all[Math.min(Math.max(at + step, 0), all.length - 1)] ?? all[0]);
  };

  const go = (key) => {
    const link = document.querySelector(`[data-go="${key}"]`);
    if (link) location.href = link.href;
  };

  const refresh = () => {
    // By the ticks themselves: a morph takes the button's class away for a moment.
    const ticked = document.querySelector("[data-tick]:checked");
    const own = current()?.querySelector("[data-refresh]") ?? document.querySelector("main [data-refresh-page]");
    (ticked ? document.querySelector("[data-bulk-button]") : own)?.click();
  };

  const actions = {
    "/": () => document.querySelector("main input[type=search], .topsearch input")?.focus(),
    j: () => move(1),
    k: () => move(-1),
    x: () => current()?.querySelector("[data-tick]")?.click(),
    r: refresh,
    g: () => (goAt = Date.now()),
    "?": () => help?.showModal(),
  };

  const isTyping = (target) => target.matches("input:not([type=checkbox]), textarea, select, [contenteditable]");

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (document.querySelector("dialog[open]")) return;
    if (Date.now() - goAt < GO_WITHIN_MS && event.key !== "g") {
      goAt = 0;
      go(event.key);
      return;
    }
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });

  // A morph writes the classes anew.
  document.body.addEventListener("htmx:afterSettle", () => current()?.classList.add("is-current"));
  for (const opener of document.querySelectorAll("[data-keyboard-help]")) {
    opener.addEventListener("click", () => help.showModal());
  }
})();
