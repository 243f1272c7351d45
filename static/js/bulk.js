// [data-tick]: ticked rows, their count on the buttons, all of the page, and all that match.
(() => {
  const ticks = () => [...document.querySelectorAll("[data-tick]")];
  const matching = () => document.querySelector("[data-tick-matching]");

  const show = () => {
    const form = document.querySelector("[data-bulk]");
    if (!form) return;
    const everything = matching()?.checked ?? false;
    const ticked = ticks().filter((tick) => tick.checked).length;
    const told = everything ? matching().dataset.tickMatching || "all" : ticked;
    for (const button of form.querySelectorAll("[data-bulk-button]")) {
      button.classList.toggle("has-ticks", ticked > 0 || everything);
      button.querySelector("[data-bulk-count]").textContent = told ? ` (${told})` : "";
    }
    const all = document.querySelector("[data-tick-all]");
    all.checked = ticked > 0 && ticked === ticks().length;
    all.indeterminate = ticked > 0 && !all.checked;
    matching()?.parentElement.classList.toggle("is-offered", all.checked || everything);
  };

  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-tick-all]")) {
      for (const tick of ticks()) tick.checked = event.target.checked;
    }
    if (event.target.matches("[data-tick-matching]") && event.target.checked) {
      for (const tick of ticks()) tick.checked = true;
    }
    if (event.target.matches("[data-tick], [data-tick-all]") && !event.target.checked && matching()) {
      matching().checked = false;
    }
    if (event.target.closest("[data-tick], [data-tick-all], [data-tick-matching]")) show();
  });
  document.body.addEventListener("htmx:afterRequest", (event) => {
    if (!event.detail.elt.matches("[data-bulk-button]") || !event.detail.successful) return;
    for (const tick of ticks()) tick.checked = false;
    show();
  });
  document.body.addEventListener("htmx:afterSettle", show);
})();
