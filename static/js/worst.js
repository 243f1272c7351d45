// The tab's title and favicon tell the worst state of all accounts. Each answer to a poll says it;
// where none came for a while, as in a hidden tab or on a page that polls nothing, it is asked for.
(() => {
  const QUIET_MS = 60000;
  const HEADER = "X-Worst";
  const { worstUrl } = document.currentScript.dataset;
  const favicon = document.getElementById("favicon");
  let lastTold = Date.now();

  const show = (told) => {
    if (!told) return;
    lastTold = Date.now();
    const [tone, needsYou] = told.split(" ");
    const title = document.title.replace(/^\(\d+\) /, "");
    document.title = needsYou > 0 ? `(${needsYou}) ${title}` : title;
    const wanted = favicon.dataset[tone];
    if (favicon.getAttribute("href") !== wanted) favicon.setAttribute("href", wanted);
  };

  document.body.addEventListener("htmx:afterRequest", ({ detail }) =>
    show(detail.xhr.getResponseHeader(HEADER)));

  setInterval(async () => {
    if (Date.now() - lastTold < QUIET_MS) return;
    lastTold = Date.now();
    try {
      show((await fetch(worstUrl, { redirect: "manual" })).headers.get(HEADER));
    } catch {
      // No connection: the tab goes on saying what it said last.
    }
  }, 5000);
})();
