// The filter's address names only what was filled in.
document.body.addEventListener("htmx:configRequest", (event) => {
  if (!event.detail.elt.matches("#filter")) return;
  const { parameters } = event.detail;
  for (const name of ["q", "state", "expires", "scopes", "used", "agency", "type", "account"]) {
    if (parameters[name] === "") delete parameters[name];
  }
  // The usual columns need no mention.
  const boxes = [...document.querySelectorAll("#filter [name=col]")];
  if (boxes.every((box) => box.checked === (box.dataset.usual !== undefined))) delete parameters.col;
});
// What is typed was looked for while it was typed: leaving the field is nothing new.
document.getElementById("id_q")?.addEventListener("change", (event) => event.stopPropagation());
// A button tells how many of the lists behind it are set.
document.getElementById("filter")?.addEventListener("change", () => {
  for (const fold of document.querySelectorAll("#filter [data-counts-fields]")) {
    const set = [...fold.querySelectorAll("select")].filter((list) => list.value).length;
    fold.querySelector("[data-count]").textContent = set ? ` (${set})` : "";
    fold.querySelector("summary").classList.toggle("filter-in-use", set > 0);
  }
});
// Links for what the list shows follow its filter.
document.body.addEventListener("htmx:pushedIntoHistory", () => {
  for (const link of document.querySelectorAll("[data-follows-filter]")) link.search = location.search;
});
