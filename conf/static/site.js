// What the pages of Attention by Example do beyond reading: none of it is needed to read.
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const page = document.documentElement;

  // One button goes round the modes; the theme's own script hears the same click first or last
  const next = { auto: "light", light: "dark", dark: "auto" };
  const said = { auto: "as the system", light: "light", dark: "dark" };
  const nameSwitch = () => all(".theme-switch-button").forEach((button) => {
    const mode = page.dataset.mode;
    button.dataset.mode = next[mode];
    button.title = `Colour mode: ${said[mode]}`;
    button.setAttribute("aria-label", `Colour mode: ${said[mode]}. Change to ${said[next[mode]]}`);
  });
  nameSwitch();
  document.addEventListener("click", (event) => {
    if (event.target.closest(".theme-switch-button")) setTimeout(nameSwitch);
    if (event.target.closest("[data-print]")) window.print();
    all("details.menu[open]").forEach((menu) => {
      if (!menu.contains(event.target)) menu.open = false;
    });
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    all("details.menu[open]").forEach((menu) => {
      menu.open = false;
      menu.querySelector("summary").focus();
    });
    hide();
  });

  // Boxes that scroll sideways can be scrolled by key, while they do
  const boxes = "pre, .cell_output > .output, .katex-display, div.math, .figure-svg, .pst-scrollable-table-container";
  const look = ({ target }) => {
    const hidden = target.scrollWidth - target.clientWidth;
    if (hidden > 0) target.tabIndex = 0;
    else target.removeAttribute("tabindex");
    target.classList.toggle("more", hidden - target.scrollLeft > 1);
  };
  const sized = new ResizeObserver((entries) => entries.forEach(look));
  all(boxes).forEach((box) => sized.observe(box));
  all(".pst-scrollable-table-container").forEach((box) => box.addEventListener("scroll", look));

  // The page that is open is in sight in the list of pages, when the theme's script, which comes
  // later, has scrolled the list to where it was
  const list = document.querySelector(".bd-sidebar-primary");
  const here = list?.querySelector(".bd-docs-nav li.active:not(:has(li.active)) > a");
  if (here) setTimeout(() => {
    const [outer, inner] = [list, here].map((element) => element.getBoundingClientRect());
    if (inner.top < outer.top || inner.bottom > outer.bottom) {
      list.scrollTop += inner.top - outer.top - outer.height / 3;
    }
  });

  // Arrows turn pages, but not where they move something
  document.addEventListener("keydown", (event) => {
    const rel = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
    if (!rel || event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.target.closest("[tabindex='0'], .figure-svg, figure, dialog, input, select, textarea, [contenteditable]")) return;
    const to = document.querySelector(`link[rel="${rel}"]`);
    if (to) location.href = to.href;
  });

  // A reader who goes by keyboard comes to the button before the links in its code
  all("button.copybtn").forEach((button) => button.previousElementSibling?.before(button));

  // On paper, what was folded is open
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = all("article details:not([open])");
    opened.forEach((details) => { details.open = true; });
  });
  addEventListener("afterprint", () => opened.forEach((details) => { details.open = false; }));

  // A figure fills the window while its button, or itself, is pressed
  const large = document.createElement("dialog");
  large.className = "large-figure";
  large.setAttribute("aria-label", "Figure");
  document.body.append(large);
  let home;
  const enlarge = (figure) => {
    home = figure;
    large.append(...figure.querySelectorAll("svg[role=img]"), close);
    large.showModal();
  };
  large.addEventListener("click", () => large.close());
  large.addEventListener("close", () => home.prepend(...large.querySelectorAll("svg[role=img]")));
  const button = (name, label) => {
    const made = document.createElement("button");
    made.type = "button";
    made.className = name;
    made.setAttribute("aria-label", label);
    return made;
  };
  const close = button("close", "Close");
  all(".figure-svg").forEach((figure) => {
    const opener = button("enlarge", "Enlarge the figure");
    figure.append(opener);
    figure.addEventListener("click", () => enlarge(figure));  // the button in it, too
  });

  // What a term, a source or a name means, shown beside the link that leads to it
  const card = document.createElement("div");
  card.className = "preview";
  card.id = "preview";
  card.setAttribute("role", "tooltip");
  card.hidden = true;
  document.body.append(card);
  const pages = new Map();
  let timer, over;
  function hide() {
    clearTimeout(timer);
    over?.removeAttribute("aria-describedby");
    card.hidden = true;
  }
  async function show(link) {
    const [address, id] = link.href.split("#");
    if (!pages.has(address)) {
      pages.set(address, fetch(address).then((answer) => answer.text())
        .then((text) => new DOMParser().parseFromString(text, "text/html")));
    }
    const there = (await pages.get(address).catch(() => null))?.getElementById(decodeURIComponent(id));
    if (!there || over !== link) return;
    const shown = there.matches("dt") ? [there, there.nextElementSibling?.querySelector("p")] : [there];
    card.replaceChildren(...shown.filter(Boolean).map((part) => {
      const line = document.createElement(part.matches("dt.sig") ? "code" : "p");
      line.textContent = part.textContent.replace(/\[source\]|#$/g, "").trim();
      return line;
    }));
    card.hidden = false;
    link.setAttribute("aria-describedby", card.id);
    const box = link.getBoundingClientRect();
    const above = box.bottom + card.offsetHeight + 8 > innerHeight;
    card.style.left = `${Math.max(8, Math.min(box.left, innerWidth - card.offsetWidth - 8))}px`;
    card.style.top = `${above ? box.top - card.offsetHeight - 4 : box.bottom + 4}px`;
  }
  const links = ['glossary.html#term-"]', 'bibliography.html#"]', 'api/"][href*="#attn_examples."]']
    .map((part) => `article a[href*="reference/${part}`).join();
  if (location.protocol !== "file:") all(links).forEach((link) => {
    const wait = (delay) => () => {
      hide();
      over = link;
      timer = setTimeout(show, delay, link);
    };
    const leave = () => { timer = setTimeout(() => { if (!card.matches(":hover")) { hide(); } }, 200); };
    link.addEventListener("pointerenter", wait(300));
    link.addEventListener("focus", wait(0));
    link.addEventListener("pointerleave", leave);
    link.addEventListener("blur", hide);
  });
  card.addEventListener("pointerleave", hide);

  // Search, with all that it knows, is fetched once a reader turns to it. The search page is
  // for typing: that its field has the focus asks for nothing yet
  const fields = all("form.bd-search input");
  let fetched = false;
  const fetchSearch = () => {
    if (fetched) return;
    fetched = true;
    const script = document.createElement("script");
    script.src = new URL("search.js", fields[0].form.action);
    script.onerror = () => all(".search-found > p").forEach((line) => {
      line.textContent = "The search could not be loaded.";
    });
    document.body.append(script);
  };
  const ownPage = document.querySelector(".bd-search-container input");
  ownPage?.focus();
  fields.forEach((field) => ["focus", "input"].forEach((act) => field.addEventListener(act, fetchSearch)));
  if (ownPage && new URLSearchParams(location.search).get("q")) fetchSearch();
})();
