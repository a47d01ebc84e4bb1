"use strict";
(() => {
  const root = document.documentElement;
  const stored = (key, value) => {
    try {
      if (value === undefined) return localStorage.getItem(key);
      localStorage.setItem(key, value);
    } catch { /* A page opened from disk may not keep anything. */ }
    return null;
  };

  // Light and dark.
  const isDark = () => root.dataset.theme
    ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const theme = stored("vllm-grid-theme");
  if (theme === "dark" || theme === "light") root.dataset.theme = theme;
  const button = document.createElement("button");
  button.id = "theme";
  button.type = "button";
  const label = () => { button.textContent = isDark() ? "Light colours" : "Dark colours"; };
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    stored("vllm-grid-theme", root.dataset.theme);
    label();
  });
  label();
  document.querySelector("header").prepend(button);

  // What a link leads to is opened.
  const reveal = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    let closed = false;
    for (let at = target.parentElement; at; at = at.parentElement) {
      if (at.tagName === "DETAILS" && !at.open) { at.open = true; closed = true; }
    }
    if (closed) target.scrollIntoView();
    if (target.tabIndex === -1) target.focus({ preventScroll: true });
  };
  addEventListener("hashchange", reveal);
  reveal();

  // Everything is printed.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const it of opened) it.open = true;
  });
  addEventListener("afterprint", () => { for (const it of opened) it.open = false; });

  // Sorting by a column: by the first number of each cell where there are numbers.
  const key = cell => {
    const text = cell.textContent.trim();
    const number = text.match(/^[~x]?([-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?)/);
    return { number: number ? Number(number[1]) : null, text };
  };
  const compare = (a, b) => {
    if (a.number !== null && b.number !== null) return a.number - b.number;
    // What was not measured comes last.
    if (a.number !== null) return -1;
    if (b.number !== null) return 1;
    return a.text.localeCompare(b.text, "en", { numeric: true });
  };
  for (const table of document.querySelectorAll("table[data-sort]")) {
    const body = table.tBodies[0];
    if (!body || body.rows.length < 4 || !table.tHead) continue;
    for (const head of table.tHead.rows[0].cells) {
      const sort = document.createElement("button");
      sort.type = "button";
      sort.textContent = head.textContent;
      head.replaceChildren(sort);
      sort.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...body.rows].map(row => ({ row, key: key(row.cells[head.cellIndex]) }));
        rows.sort((a, b) => down ? compare(b.key, a.key) : compare(a.key, b.key));
        body.append(...rows.map(it => it.row));
      });
    }
  }

  // A page that is not complete loads itself again, where the reader is.
  const seconds = Number(document.body.dataset.reload);
  if (seconds > 0) {
    const place = Number(sessionStorageGet("vllm-grid-place"));
    if (place > 0 && !location.hash) scrollTo({ top: place, behavior: "instant" });
    setInterval(() => {
      sessionStorageSet("vllm-grid-place", String(scrollY));
      location.reload();
    }, seconds * 1000);
  }
  function sessionStorageGet(name) { try { return sessionStorage.getItem(name); } catch { return null; } }
  function sessionStorageSet(name, value) { try { sessionStorage.setItem(name, value); } catch { /* the top is shown */ } }
})();
