// A page for the publisher: leads by day, delivery times, and failures.

param name string
param title string
param location string
param tags object
param workspaceId string

// The numbers are those of the workbook format: item types 1 (text), 3 (query) and 9 (parameters), parameter type 4 (time range), and
// query type 0 (logs).
var charts = [
  {
    title: 'Leads per day, by offer and stage'
    query: loadTextContent('queries/leads_per_day.kql')
    visualization: 'barchart'
    chartSettings: { xAxis: 'day', yAxis: ['leads'], group: 'offer_and_stage' }
  }
  {
    title: 'From arrival to CRM, in seconds'
    query: loadTextContent('queries/time_to_crm.kql')
    visualization: 'table'
    chartSettings: {}
  }
  {
    title: 'Failures by destination'
    query: loadTextContent('queries/failures_by_destination.kql')
    visualization: 'table'
    chartSettings: {}
  }
  {
    title: 'Health of connections'
    query: loadTextContent('queries/connection_health.kql')
    visualization: 'table'
    chartSettings: {}
  }
]

var head = [
  {
    type: 1
    name: 'about'
    content: { json: 'No personal data is logged. `python -m leads status` says what needs a person.' }
  }
  {
    type: 9
    name: 'parameters'
    content: {
      version: 'KqlParameterItem/1.0'
      parameters: [
        {
          id: guid(name, 'time range')
          version: 'KqlParameterItem/1.0'
          name: 'TimeRange'
          type: 4
          isRequired: true
          value: { durationMs: 2592000000 }
          typeSettings: {
            selectableValues: [{ durationMs: 86400000 }, { durationMs: 604800000 }, { durationMs: 2592000000 }]
            allowCustom: true
          }
        }
      ]
      style: 'pills'
      queryType: 0
      resourceType: 'microsoft.operationalinsights/workspaces'
    }
  }
]

var body = [
  for (chart, i) in charts: {
    type: 3
    name: 'query-${i}'
    content: {
      version: 'KqlItem/1.0'
      title: chart.title
      query: chart.query
      size: 0
      timeContextFromParameter: 'TimeRange'
      queryType: 0
      resourceType: 'microsoft.operationalinsights/workspaces'
      crossComponentResources: [workspaceId]
      visualization: chart.visualization
      chartSettings: chart.chartSettings
    }
  }
]

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: name
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: title
    category: 'workbook'
    sourceId: workspaceId
    serializedData: string({ version: 'Notebook/1.0', items: concat(head, body), fallbackResourceIds: [workspaceId] })
  }
}
