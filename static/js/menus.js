// [data-menu]: an open menu closes by Escape and by a click elsewhere.
(() => {
  const close = (keep) => {
    for (const menu of document.querySelectorAll("[data-menu][open]")) {
      if (menu !== keep) menu.open = false;
    }
  };

  document.addEventListener("click", (event) => close(event.target.closest("[data-menu]")));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const menu = document.querySelector("[data-menu][open]");
    if (!menu) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
})();
