// Reads a CSV file as rows, from Partner Center or from the export of a table.

const SEPARATORS = [",", ";", "\t"];

// { columns, rows: [{ number, record }] }; `number` is the line's number in the file. Null if the file is not CSV.
export function readCsv(text) {
  const source = text.replace(/^\uFEFF/, "");
  if (source.startsWith("PK") || source.includes("\u0000")) return null; // a spreadsheet, or another binary file
  const lines = cellsOf(source, separatorOf(source));
  const columns = (lines.shift()?.cells ?? []).map((name) => name.trim());
  if (columns.filter(Boolean).length < 2) return null;
  const rows = lines
    .filter(({ cells }) => cells.some((cell) => cell.trim()))
    .map(({ number, cells }) => ({ number, record: Object.fromEntries(columns.map((name, index) => [name, cells[index] ?? ""]).filter(([name]) => name)) }));
  return { columns, rows };
}

function separatorOf(source) {
  const first = source.slice(0, source.search(/\r|\n|$/));
  return SEPARATORS.reduce((best, each) => (first.split(each).length > first.split(best).length ? each : best));
}

function cellsOf(source, separator) {
  const lines = [];
  let cells = [], cell = "", quoted = false, line = 1, began = 1;
  const endCell = () => (cells.push(cell), (cell = ""));
  const endLine = () => (endCell(), lines.push({ number: began, cells }), (cells = []), (began = line));
  for (let at = 0; at < source.length; at++) {
    const sign = source[at];
    if (sign === "\n") line++;
    if (quoted) {
      if (sign !== '"') cell += sign;
      else if (source[at + 1] === '"') (cell += '"'), at++;
      else quoted = false;
    } else if (sign === '"' && !cell) quoted = true;
    else if (sign === separator) endCell();
    else if (sign === "\n") endLine();
    else if (sign !== "\r") cell += sign;
  }
  if (cell || cells.length) endLine();
  return lines;
}

// The only possible order of the rows' dates: "dmy", "mdy", "mixed", or "" if no date decides.
export function dateOrder(rows) {
  const found = new Set();
  for (const { record } of rows)
    for (const cell of Object.values(record)) {
      const [, first, second] = /^\s*(\d{1,2})[/.-](\d{1,2})[/.-]\d{4}\b/.exec(cell) ?? [];
      if (first > 12 && second <= 12) found.add("dmy");
      if (second > 12 && first <= 12) found.add("mdy");
    }
  return found.size > 1 ? "mixed" : ([...found][0] ?? "");
}
