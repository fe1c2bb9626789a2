// Tables that sort, search, fold, choose columns and copy themselves; TanStack Table holds their state.

class DataTable {
  /**
   * @param host Element that the table is put into.
   * @param options.id Of the table.
   * @param options.columns Each with key, head, text(row), value(row), and whether it is `words`.
   * @param options.details What is shown below a row, as an element; null where there is nothing.
   * @param options.folded Whether rows with rows below them start closed.
   */
  constructor(host, { id, caption, columns, details = null, folded = false, search = true, hidden = [], seldom = [] }) {
    this.id = id;
    this.columns = columns;
    this.details = details;
    this.rows = [];
    this.opened = new Set();
    this.state = {
      sorting: [], globalFilter: "", expanded: folded ? {} : true,
      columnVisibility: Object.fromEntries(hidden.map((key) => [key, false])),
    };
    this.caption = h("caption", {}, caption);
    this.head = h("thead");
    this.body = h("tbody");
    this.table = h("table", { id, class: "data" }, this.caption, this.head, this.body);
    this.scroll = h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": caption }, this.table);
    this.note = h("p", { class: "note" });
    this.gone = new Set();
    this.seldom = seldom;
    this.chosen = false;
    this.count = h("span", { class: "note", role: "status" });
    const find = h("input", {
      type: "search", placeholder: "Search", "aria-label": `Search in ${id}`,
      oninput: (event) => { this.state.globalFilter = event.target.value; this.draw(); },
    });
    this.chooser = h("fieldset", {}, h("legend", { class: "away" }, "Columns"));
    const copies = ["LaTeX", "Markdown", "CSV"].map((format) =>
      h("button", { type: "button", onclick: () => copyText(this.copied(format), `Table as ${format}`) }, format));
    this.fold = h("button", { type: "button", hidden: true, onclick: () => this.toggleAll() });
    this.tools = h("div", { class: "tools", role: "group", "aria-label": `Tools of ${id}` },
      search ? find : null, this.fold,
      h("details", { class: "menu" }, h("summary", {}, "Columns"), this.chooser),
      h("details", { class: "menu" }, h("summary", {}, "Copy"), h("div", {}, copies)), this.count);
    host.append(this.tools, this.scroll, this.note);
    this.core = TableCore.createTable({
      data: [], renderFallbackValue: null, state: {},
      columns: columns.map((column) => ({
        id: column.key, accessorFn: (row) => column.value(row) ?? undefined,
        sortingFn: column.words ? "alphanumeric" : "basic", sortUndefined: "last",
        sortDescFirst: !column.words, enableGlobalFilter: Boolean(column.words),
      })),
      getRowId: (row) => row.id, getSubRows: (row) => row.subRows,
      getCoreRowModel: TableCore.getCoreRowModel(),
      getSortedRowModel: TableCore.getSortedRowModel(),
      getFilteredRowModel: TableCore.getFilteredRowModel(),
      getExpandedRowModel: TableCore.getExpandedRowModel(),
      filterFromLeafRows: true, autoResetExpanded: false, globalFilterFn: "includesString",
      getColumnCanGlobalFilter: (column) => column.columnDef.enableGlobalFilter,
      onStateChange: (updater) => this.change(updater),
    });
    this.initial = this.core.initialState;
    this.chooseColumns();
    this.left = new Map();
  }

  /** Leaves out columns, the least telling first, where the table is wider than its place. */
  fit() {
    this.note.textContent = "";
    if (this.chosen || !this.seldom.length || innerWidth < 640) return;
    const key = `${this.scroll.clientWidth} ${this.visible.map((column) => column.key)}`;
    if (!this.left.has(key)) {
      this.gone = new Set();
      this.drawRows();
      for (const seldom of this.seldom) {
        if (this.scroll.scrollWidth <= this.scroll.clientWidth + 1) break;
        this.gone.add(seldom);
        this.drawRows();
      }
      this.left.set(key, this.gone);
    }
    this.gone = this.left.get(key);
    const names = this.columns.filter((c) => this.gone.has(c.key) && !this.empty?.has(c.key)).map((c) => c.head);
    if (names.length) this.note.textContent = `Left out to fit: ${names.join(", ")}; choose them under Columns.`;
  }

  change(updater) {
    this.state = typeof updater === "function" ? updater({ ...this.initial, ...this.state }) : updater;
    this.draw();
  }

  /** Shows other rows; order, search and what is open stay. */
  update(rows, { caption, empty = [] } = {}) {
    this.rows = rows;
    this.empty = new Set(empty);
    if (caption) this.caption.textContent = caption;
    this.draw();
  }

  get visible() {
    return this.columns.filter((column, i) =>
      i === 0 || (this.state.columnVisibility[column.key] !== false && !this.empty?.has(column.key)));
  }

  get drawn() {
    return this.chosen ? this.visible : this.visible.filter((column) => !this.gone.has(column.key));
  }

  draw() {
    this.gone = new Set();
    this.fit();
    this.drawRows();
  }

  drawRows() {
    const searching = this.state.globalFilter !== "";
    const state = { ...this.initial, ...this.state };
    if (searching) state.expanded = true;
    this.core.setOptions((options) => ({ ...options, data: this.rows, state }));
    this.drawHead();
    const columns = this.drawn;
    const fragment = document.createDocumentFragment();
    this.shown = this.core.getRowModel().rows;
    for (const row of this.shown) fragment.append(...this.drawRow(row, columns));
    this.body.replaceChildren(fragment);
    const foldable = this.rows.some((row) => row.subRows?.length);
    this.fold.hidden = !foldable;
    this.fold.textContent = this.state.expanded === true ? "Close all" : "Open all";
    this.count.textContent = searching ? `${plural(this.shown.length, "row")} found` : "";
  }

  drawHead() {
    const cells = this.drawn.map((column) => {
      const sorted = this.state.sorting.find((each) => each.id === column.key);
      const direction = sorted ? (sorted.desc ? "descending" : "ascending") : null;
      const button = h("button", { type: "button", "data-key": column.key, onclick: () => this.sort(column) },
        column.head, direction ? h("span", { class: "arrow", "aria-hidden": "true" }, sorted.desc ? "\u00a0↓" : "\u00a0↑") : null);
      return h("th", { scope: "col", class: column.words ? null : "n", "aria-sort": direction }, button);
    });
    const focused = this.head.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    this.head.replaceChildren(h("tr", {}, cells));
    if (focused) this.head.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  sort(column) {
    const now = this.state.sorting.find((each) => each.id === column.key);
    const first = !column.words;
    if (!now) this.state.sorting = [{ id: column.key, desc: first }];
    else if (now.desc === first) this.state.sorting = [{ id: column.key, desc: !first }];
    else this.state.sorting = [];
    this.draw();
    const [order] = this.state.sorting;
    announce(order ? `Sorted by ${column.head}, ${order.desc ? "greatest" : "least"} first.` : "In the order of the report.");
  }

  drawRow(row, columns) {
    const data = row.original;
    const cells = columns.map((column, i) => {
      const text = column.text(data);
      if (i === 0) return this.nameCell(row, data, text);
      const cell = h("td", { class: column.words ? null : "n" }, text);
      const value = column.value(data);
      if (!column.words && typeof value === "number") cell.dataset.value = String(value);
      cell.dataset.key = column.key;
      const before = column.before?.(data);
      if (before !== undefined && before !== text) {
        cell.classList.add("differs");
        cell.title = `In the report: ${before}`;
        cell.append(h("span", { class: "away" }, ` (in the report: ${before})`));
      }
      return cell;
    });
    const found = [h("tr", { "data-row": data.id, class: row.subRows.length ? "group" : null }, cells)];
    if (this.opened.has(data.id)) {
      const inside = this.details?.(data);
      if (inside) found.push(h("tr", { class: "inside" }, h("td", { colSpan: columns.length }, inside)));
    }
    return found;
  }

  nameCell(row, data, text) {
    const cell = h("th", { scope: "row", class: `depth${row.depth}` });
    if (row.subRows.length) {
      const open = row.getIsExpanded();
      cell.append(h("button", { type: "button", class: "fold", "aria-expanded": String(open), "data-fold": data.id,
        onclick: () => { this.expand(row); this.focusOn("fold", data.id); } }, text));
    } else if (this.details && data.detailed !== false) {
      const open = this.opened.has(data.id);
      cell.append(h("button", { type: "button", class: "fold", "aria-expanded": String(open), "data-fold": data.id,
        onclick: () => {
          if (open) this.opened.delete(data.id); else this.opened.add(data.id);
          this.draw();
          this.focusOn("fold", data.id);
        } }, text));
    } else cell.append(text);
    return cell;
  }

  focusOn(name, id) {
    this.body.querySelector(`[data-${name}="${CSS.escape(id)}"]`)?.focus();
  }

  expand(row) {
    if (this.state.expanded === true) {
      const open = {};
      for (const each of this.core.getCoreRowModel().flatRows) if (each.subRows.length) open[each.id] = true;
      this.state.expanded = open;
    }
    this.state.expanded = { ...this.state.expanded, [row.id]: !this.state.expanded[row.id] };
    this.draw();
  }

  toggleAll() {
    this.state.expanded = this.state.expanded === true ? {} : true;
    this.draw();
  }

  chooseColumns() {
    for (const column of this.columns.slice(1)) {
      const box = h("input", { type: "checkbox",
        checked: this.state.columnVisibility[column.key] !== false,
        onchange: (event) => { this.state.columnVisibility[column.key] = event.target.checked; this.chosen = true; this.draw(); } });
      this.chooser.append(h("label", {}, box, ` ${column.head}`));
    }
  }

  copied(format) {
    const columns = this.drawn;
    const heads = columns.map((column) => column.head);
    const rows = this.shown.map((row) => columns.map((column) => column.text(row.original)));
    const words = columns.map((column) => Boolean(column.words));
    if (format === "Markdown") return markdown(heads, rows, words);
    if (format === "LaTeX") return latex(heads, rows, words, this.caption.textContent);
    const raw = this.shown.map((row) => columns.map((column) => column.value(row.original)));
    return csv(columns.map((column) => column.csv || column.key), raw);
  }
}

function markdown(heads, rows, words) {
  const clean = [heads, ...rows].map((row) => row.map(inMarkdown));
  const widths = heads.map((_, i) => Math.max(3, ...clean.map((row) => row[i].length)));
  const line = (row) => `| ${row.map((c, i) => (words[i] ? c.padEnd(widths[i]) : c.padStart(widths[i]))).join(" | ")} |`;
  const rule = widths.map((width, i) => "-".repeat(width - 1) + (words[i] ? "-" : ":"));
  return [line(clean[0]), line(rule), ...clean.slice(1).map(line)].join("\n") + "\n";
}

function latex(heads, rows, words, caption) {
  const map = DATA.latex;
  const escape = (text) => [...String(text)].map((c) => map[c] ?? c).join("");
  const line = (row) => `${row.map(escape).join(" & ")} \\\\`;
  return ["\\begin{table}", "\\centering", `\\caption{${escape(caption)}}`,
    `\\begin{tabular}{${words.map((w) => (w ? "l" : "r")).join("")}}`, "\\toprule", line(heads), "\\midrule",
    ...rows.map(line), "\\bottomrule", "\\end{tabular}", "\\end{table}"].join("\n") + "\n";
}

// As in_csv of analyzer/inert.py: no spreadsheet computes what stands behind an apostrophe.
function inert(text) {
  const number = /^(?:[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-])$/;
  return /^'*\s*[=+\-@\t\r＝＋－＠]/.test(text) && !number.test(text) ? `'${text}` : text;
}

// As in_markdown and the cells of analyzer/tabular.py.
function inMarkdown(text) {
  return String(text).replace(/(?<!\\)((?:\\\\)*)<(?=[A-Za-z/!?])/g, "$1&lt;").replaceAll("](", "]\\(")
    .replace(/(\\*)\|/g, (_, slashes) => slashes + "\\".repeat(slashes.length % 2) + "\\|");
}

function csv(heads, rows) {
  const cell = (value) => {
    if (value === null || value === undefined || Number.isNaN(value)) return "";
    const text = typeof value === "string" ? inert(value) : String(value);
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [heads, ...rows].map((row) => row.map(cell).join(",")).join("\n") + "\n";
}
