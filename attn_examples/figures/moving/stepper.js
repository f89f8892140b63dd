// Four-step stepper: a sheet of numbers, a row for each key, that fills from score to output.
define("attn-stepper", class extends Moving {
  build() {
    const sheet = this.querySelector(".sheet");
    this.rows = [...sheet.tBodies[0].rows];
    this.foot = sheet.tFoot.rows[0];
    this.scale = this.querySelector("svg.live");
    // an edit shows what follows from it
    this.rows.forEach(({ cells }, j) => {
      const edit = (at, most, take) => cells[at].querySelector("input").addEventListener("input", ({ target }) => {
        const number = target.type === "checkbox" ? Number(target.checked) : target.valueAsNumber;
        if (!Number.isNaN(number)) take(Math.max(-most, Math.min(most, number)));
        this.choose("step", 3);
      });
      edit(1, 99, (number) => { this.scores[this.i][j] = number; });
      edit(2, 1, (number) => { this.mask[this.i][j] = number; });
      edit(4, 999, (number) => { this.values[j] = number; });
    });
    this.form.addEventListener("focusout", () => this.change());
    this.querySelectorAll(".controls button[type=button]").forEach((button, ahead) => {
      button.addEventListener("click", () => {
        const all = 4 * this.data.asks.length;
        const to = (4 * this.i + this.step + (ahead ? 1 : -1) + all) % all;
        this.choose("query", Math.floor(to / 4));
        this.choose("step", to % 4);
        this.change();
      });
    });
  }

  begin() {
    Object.assign(this, structuredClone({ scores: this.data.scores, mask: this.data.mask, values: this.data.values }));
    this.step = this.i = undefined;
  }

  choose(name, value) {
    for (const input of this.querySelectorAll(`[name=${name}]`)) input.checked = input.value === String(value);
  }

  // The numbers of one query. A row of which nothing is seen has nothing to divide by: weights 0.
  steps(i) {
    const powers = this.scores[i].map((score, j) => (this.mask[i][j] ? Math.exp(score) : 0));
    const sum = powers.reduce((total, power) => total + power, 0);
    const weights = powers.map((power) => (sum ? power / sum : 0));
    const parts = weights.map((weight, j) => weight * this.values[j]);
    return { powers, sum, weights, parts, output: parts.reduce((total, part) => total + part, 0) };
  }

  show(controls) {
    const [i, step] = [Number(controls.query ?? 0), Number(controls.step)];
    const [before, asked] = [this.step, this.i];
    Object.assign(this, { i, step });
    const found = this.steps(i);
    const { powers, sum, weights, parts, output } = found;
    const equals = sum ? "=" : "→";
    const write = (row, at, kind, text) => { row.cells[at].querySelector(kind).textContent = text; };
    this.rows.forEach((row, j) => {
      const fill = (at, text) => {
        const input = row.cells[at].querySelector("input");
        // what is being typed stays as it is typed
        if (input !== document.activeElement || i !== asked) input.value = text;
      };
      fill(1, this.scores[i][j].toFixed(2));
      row.cells[2].querySelector("input").checked = this.mask[i][j];
      fill(4, Number(this.values[j].toFixed(2)));
      write(row, 2, "b", step < 1 ? "" : this.mask[i][j] ? minus(this.scores[i][j].toFixed(2)) : "−∞");
      write(row, 3, "small", step < 2 ? "" : `${rough(powers[j])}/${rough(sum)} ${equals}`);
      write(row, 3, "b", step < 2 ? "" : share(weights[j]));
      row.cells[3].style.backgroundSize = `${step < 2 ? 0 : 90 * weights[j]}% 4px`;
      write(row, 4, "small", step < 3 ? "" : `${share(weights[j])} ×`);
      write(row, 4, "b", step < 3 ? "" : `= ${plain(parts[j])}`);
    });
    write(this.foot, 3, "small", step < 2 ? "" : `${rough(sum)}/${rough(sum)} ${equals}`);
    write(this.foot, 3, "b", step < 2 ? "" : sum ? "1" : "0");
    write(this.foot, 4, "small", step < 3 ? "" : "output");
    write(this.foot, 4, "b", step < 3 ? "" : plain(output));
    if (i === asked && before !== undefined && before !== step) this.slide(Math.min(before, step), step > before);
    this.weigh(found);
    return this.sentence(found);
  }

  // Let numbers move from the column of a step to the next, or back.
  slide(from, ahead) {
    if (still.matches) return;
    const [at, to] = ahead ? [from, from + 1] : [from + 1, from];
    for (const { cells } of this.rows) {
      const [a, b] = [at, to].map((step) => cells[step + 1].getBoundingClientRect());
      const moved = [`translateX(${a.right - b.right}px)`, "none"].map((transform, k) => ({ transform, opacity: k || 0.3 }));
      cells[to + 1].querySelectorAll(to ? "b, small" : "input").forEach((part) => part.animate(moved, { duration: 450, easing: "ease-in-out" }));
    }
  }

  // The values on a line, as heavy as their weights; the output is where it balances.
  weigh({ weights, output, sum }) {
    const wide = Math.min(this.scale.clientWidth, 640);
    const left = (this.scale.clientWidth - wide) / 2;
    const { keys } = this.data;
    const least = Math.min(...this.values, 0);
    const most = Math.max(...this.values, least + 1);
    const x = (value) => left + 30 + (wide - 60) * (value - least) / (most - least);
    const done = this.step > 2;
    const ends = [-Infinity, -Infinity, -Infinity];
    const order = keys.map((_, j) => j).sort((a, b) => this.values[a] - this.values[b]);
    this.scale.replaceChildren(
      draw("line", { x1: left, x2: left + wide, y1: 40, y2: 40, stroke: "currentColor" }),
      ...order.flatMap((j) => {
        const name = keys[j].length > 9 ? `${keys[j].slice(0, 8)}…` : keys[j];
        const at = x(this.values[j]);
        const line = Math.max(ends.findIndex((end) => end < at - 4 * name.length), 0);
        ends[line] = at + 4 * name.length;
        return [
          draw("circle", { cx: at, cy: 40, r: done ? Math.max(11 * Math.sqrt(weights[j]), 2) : 4, fill: done ? "#21918c" : "none", stroke: "currentColor" }),
          draw("text", { x: at, y: 24 - 11 * line, "text-anchor": "middle" }, name),
        ];
      }),
      ...(done ? [
        draw("path", { d: `M${x(output)} 41l7 13h-14z`, fill: "#d55e00", stroke: "currentColor" }),
        draw("text", { x: x(output) + (output < (least + most) / 2 ? 11 : -11), y: 60, "text-anchor": output < (least + most) / 2 ? "start" : "end" }, `output ${plain(output)}`),
      ] : []),
    );
  }

  sentence({ sum, weights, output }) {
    const { keys, asks } = this.data;
    const me = quote(asks[this.i]);
    // the three largest
    const list = (numbers, name) => keys.map((_, j) => j).sort((a, b) => numbers[b] - numbers[a]).slice(0, 3)
      .map((j) => `${quote(keys[j])} ${name(numbers[j])}`).join(", ");
    const shut = keys.filter((_, j) => !this.mask[this.i][j]).map(quote);
    return [
      () => `Step 1, score: ${me} asks. It scores ${list(this.scores[this.i], (score) => minus(score.toFixed(2)))}.`,
      () => `Step 2, mask: ${shut.length ? `${me} may not look at ${shut.join(", ")}: the score becomes −∞` : `${me} may look at all, so nothing changes`}.`,
      () => (sum ? `Step 3, normalize: e to the power of each score, divided by the sum, ${rough(sum)}: weights ${list(weights, share)}.`
        : `Step 3, normalize: all keys are masked, and 0/0 is no number. A plain softmax gives NaN; here the weights are 0.`),
      () => (sum ? `Step 4, mix: the values, each times its weight, sum to ${plain(output)}, the output of ${me}: there the line balances.`
        : `Step 4, mix: ${me} may look at nothing, so its weights and its output are 0.`),
    ][this.step]();
  }
});

// Write a number with at most two digits after the point, or with three in all; a weight as the site does.
const minus = (text) => String(text).replace("-", "−");
const plain = (number) => minus(Number(number.toFixed(2)) || 0);
const rough = (number) => (number < 1 ? share(number) : String(Number(number.toPrecision(3))).replace("+", ""));
const share = (weight) => (weight % 1 ? short(weight) : String(weight));
