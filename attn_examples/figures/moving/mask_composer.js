// Mask composer: masks joined from top to bottom by & and |, painted, and the code for it.
define("attn-mask_composer", class extends Moving {
  // Of each mask: may i look at j, the function's name, and what it is called with.
  rules = {
    causal: [(i, j) => j <= i, "causal_mask", (L) => L],
    window: [(i, j, n) => j <= i && i - j < n, "sliding_window_mask", (L, n) => `${L}, None, ${n}`],
    prefix: [(i, j, n) => j <= i || j < n, "prefix_mask", (L, n) => `${L}, None, ${n}`],
    documents: [(i, j, n) => Math.floor(i / n) === Math.floor(j / n), "document_mask",
      (L, n) => `[${this.all.map((i) => Math.floor(i / n)).join(", ")}]`],
    padding: [(i, j, n) => j < n, "padding_mask", (L, n) => `[${n}], ${L}`],
    "padded queries": [(i, j, n) => i < n, "query_padding_mask", (L, n) => `[${n}], ${L}`],
  };

  build() {
    this.L = this.data.L;
    this.all = [...Array(this.L).keys()];
    this.board = this.querySelector(".board");
    this.cells = [...this.board.querySelectorAll("button")];
    this.code = this.querySelector("textarea");
    this.copy = this.querySelector("[data-copy]");
    rove(this.board, () => this.L);
    const at = (event) => this.cells.indexOf(event.target.closest("button"));
    const on = (kinds, act) => kinds.split(" ").forEach((kind) => this.board.addEventListener(kind, (event) => {
      const place = at(event);
      if (place >= 0) act(place, event);
    }));
    on("focusin", (place) => this.change({ place }));
    on("click", (place, { detail }) => {
      // a mouse that was drawn over cells has painted them already
      if (!detail || !this.drawn) this.paint(place, !this.allowed(place));
    });
    on("pointerdown", (place) => { this.drawn = false; this.from = place; });
    on("pointerover", (place, { pointerType, buttons }) => {
      if (pointerType !== "mouse") return;
      if (buttons === 1 && this.from !== null) {
        if (!this.drawn) this.paint(this.from, this.ink = !this.allowed(this.from));
        this.drawn = true;
        this.paint(place, this.ink);
      }
      this.change({ place });
    });
    this.board.addEventListener("pointerleave", () => this.change({ place: null, from: null }));
    this.copy.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(this.code.value);
        this.copy.textContent = "Copied";
      } catch {
        this.code.select();
        this.copy.textContent = "Selected";
      }
    });
  }

  begin() {
    Object.assign(this, { painted: new Map(), place: null, from: null });
    this.copy.textContent = "Copy the code";
  }

  // The masks that are on, each with its sign, its size and its rule.
  get joined() {
    const set = this.controls;
    return Object.entries(this.rules).filter(([name]) => set[name] !== "off").map(([name, [rule, call, inside]]) => {
      const n = this.size(name);
      return { name, sign: set[name], allows: (i, j) => rule(i, j, n), call, inside: inside(this.L, n) };
    });
  }

  size(name) { return this.controls[`${name} size`] ?? this.controls["padding size"]; }

  made(place) {
    const [i, j] = [Math.floor(place / this.L), place % this.L];
    return this.masks.reduce((yes, { sign, allows }, first) => (
      !first ? allows(i, j) : sign === "&" ? yes && allows(i, j) : yes || allows(i, j)), true);
  }

  allowed(place) { return this.painted.get(place) ?? this.made(place); }

  get mask() { return this.all.map((i) => this.all.map((j) => this.allowed(i * this.L + j))); }

  paint(place, value) {
    this.painted.set(place, value);
    this.copy.textContent = "Copy the code";
    this.change({ place });
  }

  show() {
    const { L, all } = this;
    this.masks = this.joined;
    for (const place of this.painted.keys()) {
      if (this.painted.get(place) === this.made(place)) this.painted.delete(place);
    }
    this.querySelectorAll(".line").forEach((line, at) => {
      const [name, [rule]] = Object.entries(this.rules)[at];
      const n = this.size(name);
      line.querySelector("path").setAttribute("d", all.flatMap((i) => all.filter((j) => rule(i, j, n))
        .map((j) => `M${j} ${i}h1v1h-1z`)).join(""));
      line.classList.toggle("on", this.controls[name] !== "off");
    });
    this.cells.forEach((cell, place) => {
      cell.setAttribute("aria-pressed", this.allowed(place));
      cell.textContent = this.painted.has(place) ? "✎" : "";
    });
    const empty = this.mask.flatMap((row, i) => (row.includes(true) ? [] : i));
    this.board.querySelectorAll("i").forEach((label, at) => {
      if (at > L) label.textContent = at - L - 1 + (empty.includes(at - L - 1) ? " ∅" : "");
    });
    const code = this.written();
    if (this.code.value !== code) this.code.value = code;
    const rows = empty.length ? ` Row${empty.length > 1 ? "s" : ""} ${empty.join(", ")} (∅) may look at nothing: `
      + "a plain softmax is 0/0 there, NaN; attention() of this site gives the weights 0 and the output 0." : "";
    return this.meaning() + rows;
  }

  written() {
    const { masks, L } = this;
    const lines = [];
    const calls = masks.map(({ call }) => call).sort();
    for (let at = 0; at < calls.length; at += 2) {
      lines.push(`from attn_examples import ${calls.slice(at, at + 2).join(", ")}`);
    }
    if (!masks.length) lines.push("import torch", "", `mask = torch.ones(${L}, ${L}, dtype=torch.bool)`);
    masks.forEach(({ name, sign, call, inside }, at) => {
      const one = masks.length > 1 ? "" : { padding: `.repeat(${L}, 1)`, "padded queries": `.repeat(1, ${L})` }[name] ?? "";
      const made = `${call}(${inside})${name.startsWith("pad") ? "[0]" : ""}${one}`;
      lines.push(...(at ? [`mask = mask ${sign} ${made}`] : ["", `mask = ${made}`]));
    });
    for (const value of [true, false]) {
      const places = [...this.painted.keys()].filter((place) => this.painted.get(place) === value).sort((a, b) => a - b);
      const [i, j] = [places.map((place) => Math.floor(place / L)), places.map((place) => place % L)]
        .map((at) => (at.length > 1 ? `[${at.join(", ")}]` : at));
      if (places.length) lines.push(`mask[${i}, ${j}] = ${value ? "True" : "False"}`);
    }
    return lines.join("\n");
  }

  // What a cell means and who says so; or what the whole is made of.
  meaning() {
    const { place, masks, L } = this;
    if (place === null) {
      const all = masks.reduce((text, { sign, name }, at) => {
        const open = at > 1 && masks[at - 1].sign !== sign;
        return at ? `${open ? `(${text})` : text} ${sign} ${name}` : name;
      }, "") || "No mask";
      const count = this.cells.filter((_, at) => this.allowed(at)).length;
      return `${all}${this.painted.size ? ", painted" : ""}: ${count} of ${L * L} pairs are allowed.`;
    }
    const [i, j] = [Math.floor(place / L), place % L];
    const why = this.painted.has(place) ? "painted"
      : masks.map(({ name, allows }) => `${name}: ${allows(i, j) ? "yes" : "no"}`).join(", ") || "no mask";
    return `Token ${i} may ${this.allowed(place) ? "" : "not "}look at token ${j} (${why}).`;
  }
});
