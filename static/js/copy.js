// [data-copy]: a click copies the text and says so on the button.
(() => {
  const SAID_MS = 1800;

  // Where the page is not on https or localhost, browsers have no clipboard interface.
  const copyBySelection = (text, place) => {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "visually-hidden";
    place.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  };

  // Tells whether it is in the clipboard now.
  const copy = async (text, place) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      return copyBySelection(text, place);
    }
  };

  const say = (button, done) => {
    const text = done ? "Copied" : "Could not copy";
    const detail = { text: `${text}.`, tone: done ? "green" : "red" };
    document.body.dispatchEvent(new CustomEvent("toast", { detail }));
    const label = button.querySelector("[data-copy-label]");
    if (!label || button.dataset.said) return;
    button.dataset.said = label.textContent;
    // What stands beside the button does not move for a shorter word.
    button.style.minWidth = `${button.getBoundingClientRect().width}px`;
    label.textContent = text;
    setTimeout(() => {
      button.style.minWidth = "";
      label.textContent = button.dataset.said;
      delete button.dataset.said;
    }, SAID_MS);
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    // While a dialog is open, nothing outside of it can be selected.
    const done = await copy(button.dataset.copy, button.closest("dialog") ?? document.body);
    button.focus();
    say(button, done);
  });
})();
