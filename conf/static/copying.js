// A second button for each cell that needs more than it shows: it copies a piece that runs
// alone. The pieces stand at the end of the page as JSON (conf/extensions/slice/pieces.py).
"use strict";

(() => {
  const announcer = document.createElement("div");
  announcer.setAttribute("role", "status");
  announcer.className = "copying-announcer";
  document.body.append(announcer);

  const announce = (message) => {
    announcer.textContent = "";
    setTimeout(() => { announcer.textContent = message; }, 50);
  };

  const copy = async (text) => {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    // A site served without encryption has no clipboard but this one
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) throw new Error("the browser refused");
  };

  // sphinx-copybutton copies what is shown, and says so to the eye alone. Listen on the way
  // down: it exchanges its icon, which was clicked, before the click comes back up
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button.copybtn");
    if (button) announce("Copied what is shown");
  }, true);

  // For two seconds a button says what it did
  const onClick = (button, text) => button.addEventListener("click", async () => {
    const label = button.textContent;
    try {
      const copied = await text();
      await copy(copied);
      const lines = `Copied ${copied.trimEnd().split("\n").length} lines`;
      button.textContent = lines;
      announce(`${lines} that run alone`);
    } catch {
      button.textContent = "Not copied";
      announce("Not copied: the browser did not allow it");
    }
    setTimeout(() => { button.textContent = label; }, 2000);
  });

  // The mechanism of a page, offered at its top, is the text of the listing further down
  const file = document.querySelector("details.one-file pre");
  document.querySelectorAll("button.copy-mechanism").forEach((button) => {
    onClick(button, () => file.textContent.trimEnd() + "\n");
  });

  const data = document.getElementById("pieces");
  if (!data) return;
  const { texts, cells, checker, lengths } = JSON.parse(data.textContent);
  let shared; // the texts of the exercises' checker, fetched when they are first needed
  const whole = async (piece) => {
    if (checker && !shared) shared = await (await fetch(checker)).json();
    return piece.map((index) => (index < 0 ? shared[-1 - index] : texts[index])).join("\n") + "\n";
  };
  document.querySelectorAll("div.cell").forEach((cell, number) => {
    const piece = cells[number];
    if (!piece) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy-runnable";
    const length = (i) => (i < 0 ? lengths[-1 - i] : texts[i].split("\n").length);
    button.textContent = `Copy runnable · ${piece.reduce((sum, i) => sum + length(i), 0)} lines`;
    button.title = "Copy code that runs alone, without attn_examples";
    onClick(button, () => whole(piece));
    cell.querySelector(".cell_input").append(button);
  });
})();
