
"use strict";
// Sorts and searches the tables. Without this script, the page shows the same rows.
for (const section of document.querySelectorAll("section.data")) {
  const body = section.querySelector("tbody");
  if (!body) continue;
  const rows = [...body.rows];
  const collator = new Intl.Collator("en", { numeric: true });

  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.rank ?? cell.textContent;
  };
  const compare = (a, b) => (a === "-") - (b === "-") || collator.compare(a, b);
  [...section.querySelectorAll("thead th")].forEach((heading, column, headings) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      const descending = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const keyed = rows.map((row) => [key(row, column), row]);
      keyed.sort(descending ? (a, b) => compare(b[0], a[0]) : (a, b) => compare(a[0], b[0]));
      const sorted = document.createDocumentFragment();
      keyed.forEach(([, row]) => sorted.append(row));
      body.append(sorted);
    });
  });

  const search = section.querySelector(".search");
  const [input, output] = [search.querySelector("input"), search.querySelector("output")];
  const all = output.textContent;
  let texts;
  const show = () => {
    texts ??= rows.map((row) => [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase());
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    rows.forEach((row, at) => {
      row.hidden = !words.every((word) => texts[at].includes(word));
      count += !row.hidden;
    });
    output.textContent = words.length ? `${count} of ${all}` : all;
  };
  input.addEventListener("input", show);
  search.hidden = false;
  // A link to a row shows the row, although the search may have hidden it.
  addEventListener("hashchange", () => {
    const target = document.getElementById(location.hash.slice(1));
    if (target?.hidden && section.contains(target)) {
      input.value = "";
      show();
      target.scrollIntoView();
    }
  });
}
