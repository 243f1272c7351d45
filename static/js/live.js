// Live panels: sends "tick" to the body, which [data-panel] elements listen to. The pace is the
// person's: fast while something is being refreshed, a few seconds while active, slow otherwise;
// none in a hidden tab, while a dialog or menu is open, while rows are ticked, or when paused.
(() => {
  const FAST_MS = 500;
  const ACTIVE_MS = 4000;
  const IDLE_MS = 60000;
  const IDLE_AFTER_MS = 60000;
  const FAST_FOR_MS = 20000;
  const LOST_AFTER_MS = 15000;
  const VERSION = "X-Panel-Version";

  const live = document.querySelector("[data-live]");
  const panel = () => document.querySelector("[data-panel]");
  if (!live || !panel()) return;

  const line = live.querySelector("[data-live-text]");
  const pauseButton = live.querySelector("[data-live-pause]");
  let version = null;
  let paused = false;
  let lastTick = Date.now();
  let lastInput = Date.now();
  let lastAction = 0;
  let lastGood = Date.now();
  let lastGoodClock = "";
  let lastAimed = 0;
  let failing = false;
  let held = false;

  // Morphing must not close a fold, touch the field that the person is in, or take back a tick
  // that was set while the answer was on its way.
  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) =>
    !(name === "open" && node.nodeName === "DETAILS");
  Idiomorph.defaults.callbacks.beforeNodeMorphed = (node) =>
    !(node === document.activeElement && node.matches("input, select, textarea")) &&
    !(node.nodeType === Node.ELEMENT_NODE && node.matches("[data-tick]:checked"));

  const isBusy = () =>
    document.querySelector("dialog[open], [data-menu][open], [data-tick]:checked") !== null;

  const pace = () => {
    const now = Date.now();
    const refreshing = document.querySelector("[data-panel] [data-state=refreshing], [data-panel][data-state=refreshing]");
    if (refreshing && now - lastAction < FAST_FOR_MS) return FAST_MS;
    return now - lastInput < IDLE_AFTER_MS ? ACTIVE_MS : IDLE_MS;
  };

  const tick = () => {
    lastTick = Date.now();
    htmx.trigger(document.body, "tick");
  };

  const ago = (ms) => {
    const seconds = Math.round(ms / 1000);
    return seconds < 60 ? `${seconds} s ago` : `${Math.floor(seconds / 60)} min ago`;
  };

  const showLine = () => {
    const age = Date.now() - lastGood;
    const lost = failing && (age > LOST_AFTER_MS || !navigator.onLine);
    live.dataset.live = paused ? "paused" : lost ? "lost" : "on";
    if (paused) line.textContent = `Paused · updated ${ago(age)}`;
    else if (lost) line.textContent = `Connection lost, data from ${lastGoodClock}`;
    else line.textContent = `Live · updated ${ago(age)}`;
  };

  const good = (date) => {
    failing = false;
    lastGood = Date.now();
    // The server's clock in the person's zone, as everywhere on the page.
    const clock = new Date(date || Date.now()).toLocaleTimeString("en-GB", {
      hour: "2-digit",
      minute: "2-digit",
      timeZone: live.dataset.zone,
    });
    lastGoodClock = `${clock} ${live.dataset.zoneName}`;
    showLine();
  };

  setInterval(() => {
    showLine();
    if (!paused && !document.hidden && !isBusy() && Date.now() - lastTick >= pace()) tick();
  }, 250);

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && !paused && !isBusy()) tick();
  });
  for (const name of ["pointermove", "keydown", "scroll", "touchstart"]) {
    addEventListener(name, () => (lastInput = Date.now()), { passive: true });
  }
  addEventListener("pointermove", (event) => {
    if (event.pointerType !== "touch") lastAimed = Date.now();
  }, { passive: true });
  pauseButton.addEventListener("click", () => {
    paused = !paused;
    pauseButton.setAttribute("aria-pressed", String(paused));
    pauseButton.title = paused ? "Resume live updates" : "Pause live updates";
    pauseButton.setAttribute("aria-label", pauseButton.title);
    showLine();
    if (!paused) tick();
  });

  document.body.addEventListener("htmx:configRequest", (event) => {
    if (event.detail.elt.matches("[data-panel]")) {
      if (version) event.detail.headers[VERSION] = version;
    } else {
      // The page is about to differ from what the last version said.
      version = null;
      if (event.detail.verb === "post") lastAction = Date.now();
    }
  });
  // Rows do not change places under the pointer; but a pointer that was left there holds nothing,
  // and neither does one that has just set something off.
  const order = (root) => [...root.querySelectorAll("[data-row]")].map((row) => row.id).join();
  document.body.addEventListener("htmx:beforeSwap", (event) => {
    const { requestConfig, serverResponse, shouldSwap, target } = event.detail;
    const now = Date.now();
    held =
      shouldSwap &&
      requestConfig.elt.matches("[data-panel]") &&
      now - lastAimed < IDLE_AFTER_MS &&
      now - lastAction > FAST_FOR_MS &&
      target.querySelector("[data-row]:hover") !== null &&
      order(new DOMParser().parseFromString(serverResponse, "text/html")) !== order(target);
    if (held) event.detail.shouldSwap = false;
  });
  document.body.addEventListener("htmx:afterSwap", (event) => {
    const isPanel = event.detail.requestConfig.elt.matches("[data-panel]");
    version = isPanel ? event.detail.xhr.getResponseHeader(VERSION) : null;
  });
  document.body.addEventListener("htmx:afterRequest", (event) => {
    const { xhr, elt, successful } = event.detail;
    if (!elt.matches("[data-panel]")) return;
    failing = !successful;
    if (successful && !held) good(xhr.getResponseHeader("Date"));
    // The same as shown, but read later.
    if (xhr.status === 204 && version) version = xhr.getResponseHeader(VERSION) || version;
  });
  document.body.addEventListener("htmx:sendError", () => (failing = true));

  good();
})();
