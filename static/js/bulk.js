// [data-tick]: ticked rows, their count on the button, and all of the page at once.
(() => {
  const ticks = () => [...document.querySelectorAll("[data-tick]")];

  const show = () => {
    const button = document.querySelector("[data-bulk-button]");
    if (!button) return;
    const ticked = ticks().filter((tick) => tick.checked).length;
    button.classList.toggle("has-ticks", ticked > 0);
    button.querySelector("[data-bulk-count]").textContent = ticked ? ` (${ticked})` : "";
    const all = document.querySelector("[data-tick-all]");
    all.checked = ticked > 0 && ticked === ticks().length;
    all.indeterminate = ticked > 0 && !all.checked;
  };

  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-tick-all]")) {
      for (const tick of ticks()) tick.checked = event.target.checked;
    }
    if (event.target.matches("[data-tick], [data-tick-all]")) show();
  });
  document.body.addEventListener("htmx:afterRequest", (event) => {
    if (!event.detail.elt.matches("[data-bulk]") || !event.detail.successful) return;
    for (const tick of ticks()) tick.checked = false;
    show();
  });
  document.body.addEventListener("htmx:afterSettle", show);
})();
