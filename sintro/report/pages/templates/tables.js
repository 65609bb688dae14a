"use strict";
// Tables: switch of form and spread, sort, filters, with the state in the address; tips. No request, ever.
(() => {
  const all = (root, what) => [...root.querySelectorAll(what)];
  const spreads = ["published", "t95", "range"];

  function text(cell, form, spread) {
    // data-t holds form x spread; an empty one stands for the first of its form, and that for the published one.
    const packed = cell.dataset.t;
    if (packed === undefined) return null;
    const parts = packed.split("|");
    const first = form * 3;
    return parts[first + spread] || parts[first] || parts[spread] || parts[0];
  }

  function value(row, column) {
    const number = parseFloat(row.cells[column].textContent);
    return Number.isNaN(number) ? Infinity : number;
  }

  function setUp(section) {
    const table = section.querySelector("table.results");
    const form = section.querySelector("form.controls");
    const heads = all(table, "thead tr:last-child th");
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const total = Number(table.dataset.rows);
    const folded = section.querySelector("noscript"); // the rows after these, as text until somebody asks for them
    const atOnce = folded ? rows.length : total;
    let most = atOnce;
    const state = { form: "published", spread: "published", sort: "", hide: "", objective: "", prior: "", regularizers: "" };
    const defaults = { ...state };

    function unfold() {
      if (rows.length === total) return;
      const holder = document.createElement("template");
      holder.innerHTML = folded.textContent;
      rows.push(...holder.content.querySelectorAll("tbody tr"));
    }

    function numbered() { return [...rows, ...(table.tFoot ? table.tFoot.rows : [])]; }

    function showNumbers() {
      const f = state.form === "standard" ? 1 : 0;
      const s = Math.max(0, spreads.indexOf(state.spread));
      const letter = state.form[0];
      for (const row of numbered()) {
        for (const cell of all(row, "td[data-t]")) {
          const shown = text(cell, f, s);
          if (cell.textContent !== shown) cell.textContent = shown;
        }
        for (const cell of all(row, "td[data-b]")) {
          cell.classList.toggle("best", cell.dataset.b.includes(letter));
          cell.classList.toggle("top", cell.dataset.b.includes(letter.toUpperCase()));
        }
      }
      for (const button of all(table, "button[data-heads]")) {
        button.textContent = `${button.dataset.heads.split("|")[f]} ${button.dataset.arrows.split("|")[f]}`.trim();
      }
    }

    function showRows() {
      const wanted = [state.objective, state.prior, state.regularizers];
      const fits = (row) => row.dataset.r.split("|").every((have, i) => !wanted[i] || wanted[i] === have);
      const kept = inOrder().filter(fits);
      const shown = kept.slice(0, most);
      const isThere = shown.length === body.rows.length && shown.every((row, i) => row === body.rows[i]);
      if (!isThere) body.replaceChildren(...shown);
      const count = shown.length;
      section.querySelector("[data-shown]").textContent = count === total ? "" : `${count} of ${total} rows`;
      form.querySelector("[data-control=all]").hidden = rows.length === total && count === kept.length;
    }

    function showColumns() {
      const hidden = new Set(state.hide.split(",").filter(Boolean));
      const groups = all(table, "thead tr:first-child th").slice(1);
      const names = [...new Set(heads.slice(1).map((head) => head.dataset.dataset))];
      groups.forEach((group, i) => { group.hidden = hidden.has(names[i]); });
      heads.forEach((head, i) => {
        const hide = hidden.has(head.dataset.dataset);
        head.hidden = hide;
        for (const row of numbered()) if (row.cells[i].hidden !== hide) row.cells[i].hidden = hide;
      });
    }

    function inOrder() {
      heads.forEach((head) => head.removeAttribute("aria-sort"));
      const match = /^(\d+)([ad])$/.exec(state.sort);
      const column = match ? Number(match[1]) : -1;
      if (match && column < heads.length && heads[column].querySelector("button")) {
        const sign = match[2] === "a" ? 1 : -1;
        heads[column].setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
        const compare = column === 0
          ? (a, b) => sign * a.cells[0].textContent.localeCompare(b.cells[0].textContent)
          : (a, b) => {
            const [x, y] = [value(a, column), value(b, column)];
            if (x === y) return 0;
            return x === Infinity ? 1 : y === Infinity ? -1 : sign * (x - y); // rows without a number come last
          };
        return [...rows].sort(compare);
      }
      return rows;
    }

    function showControls() {
      for (const control of all(form, "[data-control]")) {
        const name = control.dataset.control;
        if (control.type === "radio") control.checked = state[name] === control.value;
        else if (name === "dataset") control.checked = !state.hide.split(",").includes(control.value);
        else if (name in state) control.value = state[name];
      }
    }

    function show() {
      const isChanged = most === total || Object.keys(state).some((name) => state[name] !== defaults[name]);
      if (isChanged) unfold();
      showNumbers();
      showColumns();
      showRows();
      showControls();
    }

    function read() {
      const given = new URLSearchParams(location.hash.slice(1));
      Object.assign(state, defaults);
      for (const name of Object.keys(state)) {
        const found = given.get(`${section.id}.${name}`);
        if (found !== null) state[name] = found;
      }
      if (!["published", "standard"].includes(state.form)) state.form = "published";
      if (!spreads.includes(state.spread)) state.spread = "published";
      for (const name of ["objective", "prior", "regularizers"]) {
        const select = form.querySelector(`select[data-control=${name}]`);
        if (!select || ![...select.options].some((option) => option.value === state[name])) state[name] = "";
      }
    }

    function write() {
      const kept = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
      for (const name of Object.keys(state)) {
        const key = `${section.id}.${name}`;
        if (state[name] === defaults[name]) kept.delete(key); else kept.set(key, state[name]);
      }
      history.replaceState(null, "", `#${kept}`);
    }

    form.addEventListener("change", (event) => {
      const control = event.target;
      const name = control.dataset.control;
      if (name === "dataset") {
        state.hide = all(form, "[data-control=dataset]").filter((c) => !c.checked).map((c) => c.value).join(",");
      } else if (name in state) state[name] = control.value;
      write();
      show();
    });
    form.addEventListener("click", (event) => {
      const name = event.target.dataset.control;
      if (name !== "all" && name !== "reset") return;
      most = name === "all" ? total : atOnce;
      if (name === "reset") Object.assign(state, defaults);
      write();
      show();
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    table.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-sort]");
      if (button) {
        const column = button.dataset.sort;
        state.sort = state.sort === `${column}a` ? `${column}d` : state.sort === `${column}d` ? "" : `${column}a`;
        write();
        show();
        return;
      }
      const cell = event.target.closest("tbody td");
      if (!cell || event.target.closest("a") || String(getSelection())) return;
      let next = cell;
      while (next && !next.classList.contains("n")) next = next.nextElementSibling;
      const link = next && next.querySelector("a");
      if (link) link.click();
    });
    addEventListener("hashchange", () => { if (location.hash.includes("=")) { read(); show(); } });
    form.hidden = false;
    read();
    show();
    return () => state;
  }

  const states = new Map(all(document, "section.result-table").map((section) => [section.id, setUp(section)]));

  const tip = document.createElement("div");
  tip.id = "tip";
  tip.setAttribute("role", "tooltip");
  tip.hidden = true;
  document.body.append(tip);
  function showTip(button) {
    const state = states.get(button.closest("section").id)();
    const meaning = document.getElementById(`${button.dataset.tip}-${state.form}`)
      || document.getElementById(`${button.dataset.tip}-published`);
    if (!meaning) return;
    tip.textContent = meaning.textContent;
    tip.hidden = false;
    button.setAttribute("aria-describedby", "tip");
    const box = button.getBoundingClientRect();
    const left = Math.min(Math.max(8, box.left), innerWidth - tip.offsetWidth - 8);
    const below = box.bottom + 8 + tip.offsetHeight < innerHeight;
    tip.style.left = `${left}px`;
    tip.style.top = `${below ? box.bottom + 8 : Math.max(8, box.top - tip.offsetHeight - 8)}px`;
  }
  function hideTip() { tip.hidden = true; }
  for (const button of all(document, "button[data-tip]")) {
    button.addEventListener("mouseenter", () => showTip(button));
    button.addEventListener("focus", () => showTip(button));
    button.addEventListener("mouseleave", hideTip);
    button.addEventListener("blur", hideTip);
  }
  addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
})();
