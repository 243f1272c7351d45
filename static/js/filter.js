// The filter's address names only what was filled in.
document.body.addEventListener("htmx:configRequest", (event) => {
  if (!event.detail.elt.matches("#filter")) return;
  const { parameters } = event.detail;
  for (const name of ["q", "state", "agency"]) {
    if (parameters[name] === "") delete parameters[name];
  }
});
