// Head explorer: every head of a model as a small map, sorted by what it does; one of them
// opened, for two sentences side by side.
define("attn-head_explorer", class extends Moving {
  build() {
    const { heads, tokens, weights, link } = this.data;
    let at = 0;
    // hundredths by sentence, head and row: -1 is exactly 0; the first is what others leave of 1
    this.levels = tokens.map(({ length }) => {
      const levels = new Int8Array(heads.length * length * length);
      for (let row = 0; row < levels.length; row += length) {
        levels[row] = 100;
        for (let j = row + 1; j < row + length; j += 1) {
          const code = weights.charCodeAt(at);
          at += 1;
          levels[j] = code < 61 ? -1 : code - (code < 127 ? 61 : 95);
          levels[row] -= Math.max(levels[j], 0);
        }
      }
      return levels;
    });
    this.order = [...heads.keys()];
    const group = this.querySelector(".heads");
    this.tiles = [...group.children];
    this.stop = rove(group, () => Number(group.style.getPropertyValue("--across")));
    for (const kind of ["focusin", "click"]) {
      group.addEventListener(kind, ({ target }) => {
        const place = this.tiles.indexOf(target.closest("button"));
        if (place >= 0) this.change({ head: this.order[place] });
      });
    }
    this.panes = [...this.querySelectorAll(".pane")].map((pane, side) => this.pane(pane, side));
    if (link) addEventListener("hashchange", () => { this.follow(); this.change(); });
  }

  // One sentence: its tokens and the map of the open head.
  pane(pane, side) {
    const [group, map] = pane.querySelector(".grid").children;
    const rows = [...group.children];
    const stop = rove(group);
    const row = (event) => {
      const { top, height } = rows[0].getBoundingClientRect();
      const button = rows.indexOf(event.target.closest("button"));
      const place = button < 0 && event.type !== "focusin" ? Math.floor((event.clientY - top) / height) : button;
      return this.tokens(side)[place] === undefined ? null : { side, place };
    };
    const ask = (event) => {
      const found = row(event);
      if (found) this.change({ rows: Object.assign([...this.rows], { [side]: found.place }), over: null });
    };
    group.addEventListener("focusin", ask);
    for (const part of [group, map]) {
      part.addEventListener("click", ask);
      part.addEventListener("pointermove", (event) => {
        if (event.pointerType === "mouse") this.change({ over: row(event) });
      });
      part.addEventListener("pointerleave", () => this.change({ over: null }));
    }
    pane.querySelector("select").addEventListener("input", () => {
      this.rows[side] = this.data.chosen[this.sentence(side)];
    });
    return { group, map, rows, stop };
  }

  begin() {
    Object.assign(this, { head: this.data.head, over: null });
    this.rows = this.panes.map((_, side) => this.data.chosen[this.sentence(side)]);
    if (this.start) return;
    this.start = this.state;
    this.follow();
  }

  sentence(side) { return Number(this.controls[side ? "second" : "first"]); }

  tokens(side) { return this.data.tokens[this.sentence(side)]; }

  // A weight as the data hold it; what is less than .01 and not 0 stays above 0.
  weight(sentence, head, i, j) {
    const { length } = this.data.tokens[sentence];
    const level = this.levels[sentence][(head * length + i) * length + j];
    return level < 0 ? 0 : level / 100 || 1e-9;
  }

  // What is shown, as the page's address keeps it.
  get state() {
    const { data: { link, heads }, controls: { by, first, second = "" } } = this;
    return `#${new URLSearchParams({ [link]: heads[this.head], by, first, second, rows: this.rows.join("-") })}`;
  }

  // Show what the address says, as far as there is such a thing.
  follow() {
    const { link, heads, chosen } = this.data;
    const told = new URLSearchParams(location.hash.slice(1));
    if (!link || !told.has(link)) return;
    for (const name of ["by", "first", "second"]) {
      const control = this.form.elements[name];
      const value = told.get(name);
      if (control && [...control.options].some((option) => option.value === value)) control.value = value;
    }
    const head = heads.indexOf(told.get(link));
    if (head >= 0) this.head = head;
    const rows = told.get("rows")?.split("-") ?? [];
    this.rows = this.rows.map((_, side) => (this.tokens(side)[rows[side]] === undefined
      ? chosen[this.sentence(side)] : Number(rows[side])));
  }

  // Keep what is shown in the address; the page stays where it is.
  keep() {
    const { link } = this.data;
    const kept = link && new URLSearchParams(location.hash.slice(1)).has(link);
    const state = this.state === this.start ? "" : this.state;
    if (!link || (!state && !kept) || state === location.hash) return;
    try {
      history.replaceState(history.state, "", state || location.pathname + location.search);
    } catch { /* a notebook's frame may have no address of its own */ }
  }

  show({ by }) {
    this.sort(Number(by));
    const said = this.panes.map((pane, side) => this.open(pane, side));
    this.keep();
    return `Head ${this.data.heads[this.head]}: ${said.join("; beside it ")}.`;
  }

  // Draw the heads in their order, for the first sentence.
  sort(by) {
    const { heads, measures, names, framed } = this.data;
    const sentence = this.sentence(0);
    const measure = measures[by - 1];
    const shown = `${by} ${sentence}`;
    if (this.sorted !== shown) {
      this.sorted = shown;
      this.order = [...heads.keys()].sort((a, b) => (measure ? measure[b] - measure[a] : 0) || a - b);
      const { length } = this.data.tokens[sentence];
      const number = (head) => short(Math.abs(measure[head]) < 0.005 ? 0 : measure[head]);
      this.order.forEach((head, place) => {
        const tile = this.tiles[place];
        const [canvas, { firstChild: name, lastChild: value }] = tile.children;
        paint(canvas, length, length, (i, j) => this.weight(sentence, head, i, j));
        name.data = heads[head];
        value.textContent = measure ? number(head) : "";
        tile.classList.toggle("framed", framed.includes(head));
        tile.ariaLabel = [heads[head], framed.includes(head) && "framed", measure && `${names[by - 1]} ${number(head)}`]
          .filter(Boolean).join(", ");
      });
    }
    const place = this.order.indexOf(this.head);
    this.press(this.tiles, place);
    this.stop(this.tiles[place]);
  }

  press(buttons, chosen) {
    buttons.forEach((button, at) => {
      const pressed = String(at === chosen);
      if (button.ariaPressed !== pressed) button.ariaPressed = pressed;
    });
  }

  // Draw the map of the open head, light a row, and say it.
  open({ group, map, rows, stop }, side) {
    const sentence = this.sentence(side);
    const tokens = this.tokens(side);
    const place = this.over?.side === side ? this.over.place : this.rows[side];
    const found = tokens.map((_, j) => this.weight(sentence, this.head, place, j));
    const { top, height: high } = rows[0].getBoundingClientRect();
    const above = top - map.getBoundingClientRect().top;
    const brief = (token) => (token.length > 10 ? `${token.slice(0, 9)}…` : token);
    const room = Math.max(...tokens.map((token) => 8 + 4.4 * brief(token).length));
    const size = Math.max(Math.min((map.clientWidth - room) / tokens.length, 40), 1);
    const wide = size * tokens.length;
    const key = [sentence, this.head, size, high].join();
    if (map.dataset.key !== key) {
      map.dataset.key = key;
      rows.forEach((button, i) => {
        button.textContent = tokens[i] ?? "";
        if (i >= tokens.length) button.remove();
        else if (!button.parentNode) group.append(button);
      });
      const href = mapImage(tokens.length, tokens.length, (i, j) => this.weight(sentence, this.head, i, j));
      const cells = { x: 0, y: above, width: wide, height: high * tokens.length };
      map.replaceChildren(
        draw("image", { href, ...cells, style: "image-rendering: pixelated", preserveAspectRatio: "none" }),
        draw("rect", { ...cells, fill: "none", stroke: "currentColor", "stroke-width": 0.5 }),
        ...tokens.map((token, j) => draw("text", {
          "font-size": Math.min(12, size), transform: `translate(${size * (j + 0.6)} ${above - 5}) rotate(-50)`,
        }, brief(token))),
        draw("g"),
      );
    }
    this.press(rows, place);
    stop(rows[this.rows[side]]);
    map.lastChild.replaceChildren(
      ...found.map((weight, j) => draw("text", {
        x: size * (j + 0.5), y: above + high * (place + 0.5) + 4, "text-anchor": "middle",
        style: `font-size: 11px; fill: ${weight < 0.43 ? "#ffffff" : "#000000"}`,
      }, size < 20 || (weight && weight < 0.01) ? "" : weight ? short(weight, weight === 1 ? 1 : 2) : "0")),
      draw("rect", { x: 0, y: above + high * place, width: wide, height: high, fill: "none", stroke: "#d55e00", "stroke-width": 2.5 }),
    );
    const first = [...found.keys()].sort((a, b) => found[b] - found[a]).slice(0, 2).filter((j) => found[j] >= 0.01);
    return `${quote(tokens[place])} looks at ${first.map((j) => `${quote(tokens[j])} ${short(found[j])}`).join(", ")}`;
  }
});
