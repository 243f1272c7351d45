// [data-embedded="https://… https://…"]: asks the page around this one, HighLevel's, who is there,
// and sends its encrypted answer to our server. Only answers from these origins are taken.
(() => {
  const WAIT_MS = 5000;

  const form = document.querySelector("[data-embedded]");
  const say = (text) => (form.querySelector("[data-embedded-text]").textContent = text);

  // "https://*.example.com" is any host below example.com.
  const isAllowed = (origin) =>
    form.dataset.embedded.split(" ").some((allowed) => {
      const [scheme, host] = allowed.split("://*.");
      return host ? origin.startsWith(`${scheme}://`) && origin.endsWith(`.${host}`) : origin === allowed;
    });

  if (window.parent === window) {
    say("Open this page inside HighLevel.");
    return;
  }
  const late = setTimeout(
    () => say("HighLevel does not answer. Reload the page; if that changes nothing, this page's address is not registered as a custom page."),
    WAIT_MS,
  );
  addEventListener("message", (event) => {
    if (event.source !== window.parent || !isAllowed(event.origin)) return;
    if (event.data?.message !== "REQUEST_USER_DATA_RESPONSE") return;
    if (typeof event.data.payload !== "string") return;
    clearTimeout(late);
    form.elements.payload.value = event.data.payload;
    form.submit();
  });
  window.parent.postMessage({ message: "REQUEST_USER_DATA" }, "*");
})();
