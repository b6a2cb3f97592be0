"use strict";
// Draws each figure when it comes near the screen, and gives its data as CSV, its picture as SVG.
(() => {
  const source = document.getElementById("figures");
  const figures = JSON.parse(source.textContent);
  const mostRows = Number(source.dataset.tableRows);
  const root = document.documentElement;
  const NARROW = 560;
  const drawn = new Map(); // figure element -> {view, width, choice}

  const decode = (columns, shown) => {
    const names = Object.keys(columns);
    const count = names.length ? (columns[names[0]].codes || columns[names[0]].values).length : 0;
    const texts = names.map((name) => (shown && columns[name].shown) || columns[name].levels);
    const rows = [];
    for (let i = 0; i < count; i++) {
      const row = {};
      names.forEach((name, k) => {
        const column = columns[name];
        row[name] = column.codes ? (column.codes[i] < 0 ? null : texts[k][column.codes[i]]) : column.values[i];
      });
      rows.push(row);
    }
    return rows;
  };

  // Pictures name the page's colours, so that they change with the theme, also on paper.
  const of = (name) => `var(${name})`;
  const inLight = (svg) => {
    const style = getComputedStyle(document.querySelector(".as-light"));
    return svg.replace(/var\((--[a-z-]+)\)/g, (_, name) => style.getPropertyValue(name).trim());
  };

  // Width of the longest entry of the legend, about.
  const legendEntry = (spec) => {
    const names = spec.layer.flatMap(({ encoding }) => encoding.color?.scale?.domain || []);
    return Math.min(220, Math.max(0, ...names.map((name) => String(name).length)) * 6.6 + 30);
  };

  const config = (width, entry) => {
    const font = "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif";
    const narrow = width < NARROW;
    return {
      background: "transparent",
      font,
      view: { stroke: null },
      axis: {
        labelColor: of("--text"), titleColor: of("--soft"), gridColor: of("--line"), domainColor: of("--soft"),
        tickColor: of("--soft"), labelFontSize: narrow ? 11 : 12, titleFontSize: 12, titleFontWeight: 500,
      },
      axisY: { labelLimit: narrow ? 140 : 280 },
      axisX: { labelLimit: 200 },
      legend: {
        orient: "top", direction: "horizontal",
        columns: Math.max(1, Math.floor((width - (narrow ? 90 : 160)) / entry)),
        labelColor: of("--text"), titleColor: of("--soft"), labelFontSize: 12, titleFontSize: 12,
        titleFontWeight: 500, gradientLength: Math.min(240, width - 130), labelLimit: Math.min(220, width - 130),
      },
      text: { color: of("--text"), fontSize: 11 },
      rule: { color: of("--soft") },
      bar: { stroke: null },
    };
  };

  // Names along an edge need the room of the axis title, which the heading says anyway.
  const MIDDLE_CUT =
    "length(toString(datum.label)) > 20 ? slice(datum.label, 0, 7) + '…' + slice(datum.label, -12) : datum.label";
  const fit = (spec, narrow) => {
    for (const { encoding } of spec.layer) {
      if (encoding.y && encoding.y.type !== "quantitative") {
        encoding.y.title = null;
        if (narrow) encoding.y.axis.labelExpr = MIDDLE_CUT;
      }
      if (narrow && encoding.x && encoding.x.type === "quantitative" && encoding.x.axis) encoding.x.axis.tickCount = 4;
    }
  };

  const chosen = (element) => {
    const select = element.querySelector("select");
    return figures[element.dataset.figure][select ? Number(select.value) : 0];
  };

  const draw = async (element) => {
    const chart = chosen(element);
    const place = element.querySelector(".picture");
    const width = place.clientWidth;
    const old = drawn.get(element);
    drawn.set(element, { width, view: null });
    if (old && old.view) old.view.finalize();
    const spec = structuredClone(chart.spec);
    fit(spec, width < NARROW);
    spec.data = { values: decode(chart.columns, true) };
    spec.width = width;
    const result = await vegaEmbed(place, spec, {
      actions: false, renderer: "svg", ast: true, config: config(width, legendEntry(spec)), tooltip: { disableDefaultStyle: true },
    });
    drawn.set(element, { width, view: result.view });
    const svg = place.querySelector("svg");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `${chart.title}. ${chart.see}`);
    element.querySelector("figcaption").textContent = chart.see;
    element.dataset.drawn = chart.name;
  };

  const queue = [];
  let busy = false;
  const work = async () => {
    if (busy) return;
    busy = true;
    while (queue.length) {
      const element = queue.shift();
      try {
        await draw(element);
      } catch (error) {
        element.querySelector(".picture").textContent = `This figure can't be drawn: ${error.message}`;
        console.error(error);
      }
      await new Promise((resolve) => setTimeout(resolve));
    }
    busy = false;
  };
  const ask = (element) => {
    if (!queue.includes(element)) queue.push(element);
    work();
  };

  const csvCell = (value) => {
    if (value === null || value === undefined) return "";
    if (typeof value !== "string") return String(value);
    // A spreadsheet would run what begins like a formula.
    const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
    return /[",\r\n']/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const csv = (chart) => {
    const names = Object.keys(chart.columns);
    const heads = names.map((name) => {
      const unit = chart.columns[name].unit;
      return unit && unit !== "1" && unit !== name ? `${name} (${unit})` : name;
    });
    const lines = decode(chart.columns, false).map((row) => names.map((name) => csvCell(row[name])).join(","));
    return [heads.map(csvCell).join(","), ...lines].join("\r\n") + "\r\n";
  };
  const save = (name, text, type) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };

  const fill = (element) => {
    const chart = chosen(element);
    const names = Object.keys(chart.columns);
    const table = document.createElement("table");
    const head = table.createTHead().insertRow();
    for (const name of names) {
      const cell = document.createElement("th");
      const unit = chart.columns[name].unit;
      cell.scope = "col";
      cell.textContent = unit && unit !== "1" && unit !== name ? `${name} (${unit})` : name;
      head.append(cell);
    }
    const body = table.createTBody();
    const rows = decode(chart.columns, true);
    for (const row of rows.slice(0, mostRows)) {
      const line = body.insertRow();
      for (const name of names) {
        const cell = line.insertCell();
        const value = row[name];
        if (typeof value === "number") {
          cell.className = "number";
          cell.textContent = Number.isInteger(value) ? value.toLocaleString("en") : Number(value.toPrecision(6)).toString();
        } else {
          cell.textContent = value === null ? "–" : String(value);
        }
      }
    }
    const place = element.querySelector(".actions .scroll");
    place.replaceChildren(table);
    if (rows.length > mostRows) {
      const note = document.createElement("p");
      note.textContent = `${(rows.length - mostRows).toLocaleString("en")} more rows are in the CSV.`;
      place.append(note);
    }
  };

  const near = new IntersectionObserver(
    (entries) => entries.forEach((entry) => {
      if (entry.isIntersecting) {
        near.unobserve(entry.target);
        ask(entry.target);
      }
    }),
    { rootMargin: "600px 0px" },
  );
  for (const element of document.querySelectorAll("figure[data-figure]")) {
    near.observe(element);
    const details = element.querySelector(".actions details");
    details.addEventListener("toggle", () => details.open && fill(element));
    const select = element.querySelector("select");
    if (select) select.addEventListener("change", () => {
      ask(element);
      if (details.open) fill(element);
    });
    for (const button of element.querySelectorAll("[data-save]")) {
      button.setAttribute("aria-label", `${button.textContent}: ${element.querySelector("h4").textContent}`);
      button.addEventListener("click", async () => {
        const chart = chosen(element);
        if (button.dataset.save === "csv") return save(`${chart.name}.csv`, csv(chart), "text/csv");
        if (!drawn.get(element)?.view) await draw(element);
        const svg = await drawn.get(element).view.toSVG();
        return save(`${chart.name}.svg`, inLight(svg), "image/svg+xml");
      });
    }
  }

  const redraw = () => {
    for (const [element, { width }] of drawn) {
      if (element.querySelector(".picture").clientWidth !== width) ask(element);
    }
  };
  let waiting;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(redraw, 150);
  });

  const button = document.getElementById("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const setTheme = (name) => {
    root.dataset.theme = name;
    button.textContent = name === "dark" ? "Light colours" : "Dark colours";
  };
  button.hidden = false;
  button.addEventListener("click", () => setTheme(root.dataset.theme === "dark" ? "light" : "dark"));
  dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));
  setTheme(dark.matches ? "dark" : "light");

  const contents = document.getElementById("contents");
  if (matchMedia("(max-width: 900px)").matches) contents.open = false;
  // What is far below is drawn when nothing else is to be done: a print has every picture then.
  addEventListener("load", () => {
    const idle = window.requestIdleCallback || ((then) => setTimeout(then, 500));
    const rest = [...document.querySelectorAll("figure[data-figure]")];
    const next = () => {
      const element = rest.find((figure) => !drawn.has(figure) && !queue.includes(figure));
      if (!element) return;
      ask(element);
      idle(next, { timeout: 2000 });
    };
    idle(next, { timeout: 2000 });
  });
})();
