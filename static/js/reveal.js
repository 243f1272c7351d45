// [data-reveal="30"]: shows a token for so many seconds, then takes it out of the page.
(() => {
  const hide = (place) => {
    clearInterval(place.revealTimer);
    if (place.matches("dialog")) place.remove();
    else place.textContent = "Hidden again.";
  };

  const start = (place) => {
    let left = Number(place.dataset.reveal);
    const count = place.querySelector("[data-reveal-left]");
    if (place.matches("dialog")) {
      place.addEventListener("close", () => hide(place));
      place.showModal();
    }
    if (!count) return; // there is no token in it
    place.revealTimer = setInterval(() => {
      left -= 1;
      count.textContent = left;
      if (left <= 0) hide(place);
    }, 1000);
  };

  for (const place of document.querySelectorAll("[data-reveal]")) start(place);
  document.body.addEventListener("htmx:afterSwap", (event) => {
    const place = event.detail.target.querySelector?.(":scope > [data-reveal]");
    if (place) start(place);
  });
  // A page that the browser kept for its back button must not show it once more.
  addEventListener("pagehide", () => {
    for (const place of document.querySelectorAll("[data-reveal]")) hide(place);
  });
})();
