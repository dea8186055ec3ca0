// Parses Kusto queries with Microsoft's own parser against the tables that they may name. Standard input is
// {"tables": {NAME: "(COLUMN: TYPE, …)"}, "queries": {NAME: TEXT}}; what comes back for each query are its errors and warnings,
// and the columns of its result.
const packages = process.argv[2]
require(packages + '/@kusto/language-service-next/bridge.min.js')
require(packages + '/@kusto/language-service-next/Kusto.Language.Bridge.min.js')
const { Symbols, GlobalState, KustoCode } = Kusto.Language

const { tables, queries } = JSON.parse(require('fs').readFileSync(0, 'utf8'))
const symbols = Object.entries(tables).map(([name, columns]) => Symbols.TableSymbol.From(columns).WithName(name))
const globals = GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.ctor('workspace', symbols))

const list = (found) => Array.from({ length: found.Count }, (_, i) => found.getItem(i))

const answers = {}
for (const [name, text] of Object.entries(queries)) {
  const code = KustoCode.ParseAndAnalyze(text, globals)
  answers[name] = {
    problems: list(code.GetDiagnostics()).map((found) => `${found.Severity} ${found.Code}: ${found.Message}`),
    columns: code.ResultType && code.ResultType.Columns ? list(code.ResultType.Columns).map((column) => column.Name) : [],
  }
}
console.log(JSON.stringify(answers))
