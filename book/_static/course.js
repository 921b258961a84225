// What the style sheet cannot do for people who use a keyboard or a screen reader.
"use strict";

(() => {
  // Icons are letters of a font; a screen reader is not to read them out. Their buttons have names of their own.
  for (const icon of document.querySelectorAll("i[class*='fa-'], span[class*='fa-']")) {
    icon.setAttribute("aria-hidden", "true");
  }

  // Whatever scrolls sideways in the text can be reached by Tab and then scrolled by the arrow keys. The theme does
  // this for code and tables, not for formulas, and not for boxes inside an output.
  const boxes = ".bd-article mjx-container, .bd-article div.math, .bd-article .cell_output .output div";
  const mark = () => {
    for (const box of document.querySelectorAll(boxes)) {
      if (box.scrollWidth > box.clientWidth && /auto|scroll/.test(getComputedStyle(box).overflowX)) {
        box.tabIndex = 0;
      } else {
        box.removeAttribute("tabindex");
      }
    }
  };

  // The article changes its size with the window, and once more when its formulas have been set.
  new ResizeObserver(mark).observe(document.querySelector("main"));
  window.addEventListener("load", mark);
})();
