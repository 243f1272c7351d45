// [data-copy]: a click copies the text and says so on the button.
(() => {
  const SAID_MS = 1800;

  // Where the page is not on https or localhost, browsers have no clipboard interface.
  const copyBySelection = (text) => {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "visually-hidden";
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  };

  const copy = async (text) => {
    if (!navigator.clipboard) return copyBySelection(text);
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      copyBySelection(text);
    }
  };

  const say = (button) => {
    const label = button.querySelector("[data-copy-label]");
    document.body.dispatchEvent(
      new CustomEvent("toast", { detail: { text: "Copied.", tone: "green" } }),
    );
    if (!label || button.dataset.said) return;
    button.dataset.said = label.textContent;
    // What stands beside the button does not move for a shorter word.
    button.style.minWidth = `${button.getBoundingClientRect().width}px`;
    label.textContent = "Copied";
    setTimeout(() => {
      button.style.minWidth = "";
      label.textContent = button.dataset.said;
      delete button.dataset.said;
    }, SAID_MS);
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    await copy(button.dataset.copy);
    button.focus();
    say(button);
  });
})();
