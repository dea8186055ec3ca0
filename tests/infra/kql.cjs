// Parses Kusto queries with Microsoft's own parser against the tables that they may name. The first line of standard input is
// {TABLE: "(COLUMN: TYPE, …)"}, each further one {QUERY: TEXT}; what comes back for each of those is a line with the errors and
// warnings of each query, and the columns of its result.
const packages = process.argv[2]
require(packages + '/@kusto/language-service-next/bridge.min.js')
require(packages + '/@kusto/language-service-next/Kusto.Language.Bridge.min.js')
const { Symbols, GlobalState, KustoCode } = Kusto.Language

const list = (found) => Array.from({ length: found.Count }, (_, i) => found.getItem(i))

function globalsOf(tables) {
  const symbols = Object.entries(tables).map(([name, columns]) => Symbols.TableSymbol.From(columns).WithName(name))
  return GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.ctor('workspace', symbols))
}

function parsed(text, globals) {
  const code = KustoCode.ParseAndAnalyze(text, globals)
  return {
    problems: list(code.GetDiagnostics()).map((found) => `${found.Severity} ${found.Code}: ${found.Message}`),
    columns: code.ResultType && code.ResultType.Columns ? list(code.ResultType.Columns).map((column) => column.Name) : [],
  }
}

let globals
require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
  const given = JSON.parse(line)
  if (!globals) {
    globals = globalsOf(given)
    return
  }
  console.log(JSON.stringify(Object.fromEntries(Object.entries(given).map(([name, text]) => [name, parsed(text, globals)]))))
})
