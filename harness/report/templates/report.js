"use strict";
{
  const data = JSON.parse(document.getElementById("data").textContent);
  const charts = new Map();
  const tables = new Map();
  const chosen = {};

  // Names come from users: they are set as text, never as HTML.
  const tip = (point) => {
    const box = document.createElement("div");
    box.className = "tip";
    box.textContent = point.data?.tip ?? point.name;
    return box;
  };

  const draw = (element) => {
    const { option, views } = data.charts[element.id];
    const chart = charts.get(element) ?? echarts.init(element, null, { renderer: "svg" });
    charts.set(element, chart);
    chart.setOption(option, true);
    if (views) chart.setOption(views[chosen[element.id]]);
    chart.setOption({ tooltip: { formatter: tip } });
  };

  const enhance = (element) => {
    const isLong = element.id || element.rows.length > 10;
    const table = new DataTable(element, {
      paging: false,
      autoWidth: false,
      order: [],
      layout: {
        topStart: null, topEnd: isLong ? "search" : null, bottomStart: isLong ? "info" : null, bottomEnd: null,
      },
      language: { search: "Search", info: "_TOTAL_ rows", infoEmpty: "No rows", infoFiltered: "of _MAX_" },
      columnDefs: element.id in data.tables ? [{ targets: "_all", render: DataTable.render.text() }] : [],
    });
    tables.set(element, table);
    if (element.id in data.tables) fill(element);
  };

  const fill = (element) => tables.get(element).clear().rows.add(data.tables[element.id][chosen[element.id]] ?? []).draw();

  // Only what comes into view is drawn: a run may have hundreds of variants.
  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) if (isIntersecting) show(target);
  }, { rootMargin: "400px" });
  const resized = new ResizeObserver((entries) => {
    for (const { target } of entries) charts.get(target)?.resize();
  });
  const show = (element) => {
    if (!element) return;
    seen.unobserve(element);
    if (charts.has(element) || tables.has(element)) return;
    if (element.matches("table")) return enhance(element);
    draw(element);
    resized.observe(element);
  };

  const choose = (chooser) => {
    const { parts, choices } = data.choosers[chooser.id];
    parts.forEach((key, place) => {
      const element = document.getElementById(key);
      const view = choices[chooser.value][place];
      chosen[key] = view;
      element.closest(".part").hidden = view < 0;
      if (view < 0) return;
      if (charts.has(element)) draw(element);
      if (tables.has(element)) fill(element);
    });
  };

  const zoom = (button) => {
    const element = document.getElementById(button.dataset.zoom);
    const chart = charts.get(element);
    if (button.value === "0") return draw(element);
    chart.dispatchAction({
      type: "graphRoam", seriesIndex: 0, zoom: Number(button.value),
      originX: element.clientWidth / 2, originY: element.clientHeight / 2,
    });
  };

  document.documentElement.classList.add("scripted");
  for (const chooser of document.querySelectorAll("select[data-chooser]")) {
    choose(chooser);
    chooser.addEventListener("change", () => choose(chooser));
  }
  for (const button of document.querySelectorAll("button[data-zoom]")) button.addEventListener("click", () => zoom(button));
  for (const filter of document.querySelectorAll("select[data-column]")) {
    const table = document.getElementById(filter.dataset.table);
    filter.addEventListener("change", () => {
      show(table);
      tables.get(table).column(Number(filter.dataset.column)).search(filter.value, { exact: true }).draw();
    });
  }
  show(document.getElementById("all-variants"));
  const all = document.querySelectorAll(".chart, table");
  for (const element of all) seen.observe(element);
  addEventListener("beforeprint", () => {
    for (const folded of document.querySelectorAll("details")) folded.open = true;
    for (const element of all) if (!element.closest("[hidden]")) show(element);
  });
}
