// Short messages: those of the server (HX-Trigger "toast"), and what to say when it does not answer.
(() => {
  const SHOWN_MS = 6000;
  const UNDO_SHOWN_MS = 30000;
  const box = document.getElementById("toasts");

  const later = (line) =>
    setTimeout(() => line.remove(), line.matches(".toast-undo") ? UNDO_SHOWN_MS : SHOWN_MS);

  const show = (text, tone) => {
    const line = document.createElement("div");
    line.className = `toast-line tone-${tone}`;
    line.textContent = text;
    box.append(line);
    later(line);
  };

  // A poll says by the live line that it failed.
  const isPoll = (event) => event.detail.elt.matches("[data-panel]");

  for (const line of box.children) later(line);
  document.body.addEventListener("toast", (event) => show(event.detail.text, event.detail.tone));
  document.body.addEventListener("htmx:responseError", (event) => {
    if (!isPoll(event)) show("That did not work. Reload the page and try again.", "red");
  });
  document.body.addEventListener("htmx:sendError", (event) => {
    if (!isPoll(event)) show("WhatReach cannot be reached. Nothing was done.", "red");
  });
})();
