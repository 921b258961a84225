// What the pages do besides being read: colours, the two lists beside the text, search, copying, and scrolling by keys.
// The theme's own scripts (100 kB) are not loaded; this file does the part of them that this site uses.
"use strict";

(() => {
  const root = document.documentElement;
  const one = (selector) => document.querySelector(selector);
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];

  // ---- Light and dark: the reader's choice, or the system's.
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const store = (key, value) => { try { localStorage.setItem(key, value); } catch { /* not allowed: forget it */ } };
  const paint = () => {
    const mode = root.dataset.mode;
    root.dataset.theme = mode === "auto" ? (dark.matches ? "dark" : "light") : mode;
    store("mode", mode);
    store("theme", root.dataset.theme);
    for (const button of all(".theme-switch-button")) button.setAttribute("aria-label", `Colours: ${mode}`);
  };
  if (!["auto", "light", "dark"].includes(root.dataset.mode)) root.dataset.mode = "auto";
  dark.addEventListener("change", paint);
  for (const button of all(".theme-switch-button")) {
    button.addEventListener("click", () => {
      const order = dark.matches ? ["auto", "light", "dark"] : ["auto", "dark", "light"];
      root.dataset.mode = order[(order.indexOf(root.dataset.mode) + 1) % 3];
      paint();
    });
  }
  paint();

  // ---- The list of pages and the list of sections. Where there is no room beside the text they open as a dialog.
  const move = (from, to) => {
    to.append(...from.childNodes);
    to.className = from.className;
    from.className = "";
  };
  const sidebar = (toggle, column, dialog, hides) => {
    if (!toggle || !column || !dialog) return;
    toggle.addEventListener("click", () => {
      if (hides && matchMedia("(min-width: 992px)").matches) {
        const hidden = column.classList.toggle("pst-sidebar-hidden");
        toggle.setAttribute("aria-expanded", String(!hidden));
        return;
      }
      move(column, dialog);
      dialog.showModal();
    });
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog || event.target.closest("a[href^='#']")) dialog.close();
    });
    dialog.addEventListener("close", () => { move(dialog, column); toggle.focus(); });
  };
  sidebar(one(".primary-toggle"), one("#pst-primary-sidebar"), one("#pst-primary-sidebar-modal"), true);
  sidebar(one(".secondary-toggle"), one("#pst-secondary-sidebar"), one("#pst-secondary-sidebar-modal"), false);

  // ---- Search: a button, or Ctrl-K.
  const search = one("#pst-search-dialog");
  const ask = () => { search.showModal(); search.querySelector("input").select(); };
  if (search) {
    for (const button of all(".search-button__button")) button.addEventListener("click", ask);
    search.addEventListener("click", (event) => { if (event.target === search) search.close(); });
    addEventListener("keydown", (event) => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        if (search.open) search.close(); else ask();
      }
    });
  }

  // ---- The section that is being read is marked in the list of sections.
  const links = new Map(all("#pst-page-toc-nav a").map((link) => [link.hash.slice(1), link]));
  const mark = (link) => {
    for (const [, each] of links) {
      each.classList.toggle("active", each === link);
      if (each === link) each.setAttribute("aria-current", "true"); else each.removeAttribute("aria-current");
    }
  };
  const reading = new IntersectionObserver((entries) => {
    const seen = entries.filter((entry) => entry.isIntersecting).pop();
    if (seen) mark(links.get(seen.target.closest("section[id]").id));
  }, { rootMargin: "0px 0px -70% 0px" });
  for (const [id] of links) {
    const heading = document.getElementById(decodeURIComponent(id))?.querySelector("h1, h2, h3");
    if (heading) reading.observe(heading);
  }

  // ---- Whatever scrolls sideways can be reached by Tab, and then scrolled by the arrow keys. It is measured when it
  // comes near the window, so that a long page is not laid out as a whole.
  const boxes = ".bd-article :is(pre, .pst-scrollable-table-container, div.math, .cell_output .output, .cell_output .output div)";
  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      if (target.scrollWidth > target.clientWidth && /auto|scroll/.test(getComputedStyle(target).overflowX)) {
        target.tabIndex = 0;
      } else {
        target.removeAttribute("tabindex");
      }
    }
  }, { rootMargin: "200px" });
  const watch = () => { for (const box of all(boxes)) { near.unobserve(box); near.observe(box); } };
  let waiting;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(watch, 300); });
  watch();

  // ---- Copy code. One button, which goes to the code under the pointer; it is no stop for Tab in each of 281 cells.
  const copy = document.createElement("button");
  copy.className = "course-copy";
  copy.type = "button";
  copy.textContent = "Copy";
  copy.addEventListener("click", async () => {
    const text = copy.parentElement.querySelector("pre").textContent;
    try {
      await navigator.clipboard.writeText(text);
      copy.textContent = "Copied";
    } catch {
      copy.textContent = "Press Ctrl-C";
      getSelection().selectAllChildren(copy.parentElement.querySelector("pre"));
    }
  });
  document.addEventListener("pointerover", (event) => {
    const code = event.target.closest?.("div.highlight");
    if (code && copy.parentElement !== code) {
      copy.textContent = "Copy";
      code.append(copy);
    }
  });

  // ---- Icons are letters of a font: a screen reader is not to read them out. Their buttons have names of their own.
  for (const icon of all("i[class*='fa-'], span[class*='fa-']")) icon.setAttribute("aria-hidden", "true");

  // ---- Back to the top.
  const top = one("#pst-back-to-top");
  if (top) {
    top.addEventListener("click", () => scrollTo({ top: 0 }));
    const pixel = one("#pst-scroll-pixel-helper");
    new IntersectionObserver(([entry]) => document.body.classList.toggle("scrolled", !entry.isIntersecting)).observe(pixel);
  }

  // ---- On paper everything that is folded is open.
  const folded = () => all("details:not([open])");
  let opened = [];
  addEventListener("beforeprint", () => { opened = folded(); for (const each of opened) each.open = true; });
  addEventListener("afterprint", () => { for (const each of opened) each.open = false; });
})();
