// A second button for each cell that needs more than it shows: it copies a piece that runs
// alone. The pieces stand at the end of the page as JSON, but for texts that many pages have in
// common, which are in a file (conf/extensions/slice/pieces.py).
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
    } catch (error) {
      button.textContent = "Not copied";
      announce(`Not copied: ${error.lacks ?? "the browser did not allow it"}`);
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
  const { texts, cells, lines, shared } = JSON.parse(data.textContent);
  let coming; // a script, since from disk nothing else can be loaded; after a failure, anew
  const load = () => coming ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = shared;
    script.onload = () => resolve(sharedTexts);
    script.onerror = () => {
      coming = undefined;
      script.remove();
      reject({ lacks: "a part of it could not be loaded" });
    };
    document.body.append(script); // after all that one can reach
  });
  const join = (piece, common) =>
    piece.map((place) => (place < 0 ? common[-1 - place] : texts[place])).join("\n") + "\n";
  document.querySelectorAll("div.cell").forEach((cell, number) => {
    const piece = cells[number];
    if (!piece) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy-runnable";
    button.textContent = `Copy runnable · ${lines[number]} lines`;
    button.title = "Copy code that runs alone, without attn_examples";
    const needs = piece.some((place) => place < 0);
    onClick(button, async () => join(piece, needs ? await load() : []));
    // What is there before the click is copied at once, which some browsers insist on
    for (const turn of needs ? ["pointerenter", "focus"] : []) {
      button.addEventListener(turn, () => load().catch(() => {}));
    }
    cell.querySelector(".cell_input").append(button);
  });
})();
