// Alerts for each alarm of the app, and for faults that the app cannot see: it does not run, or gets no requests.
//
// Azure bills each rule, whatever the rule looks for. So the alarms of one severity share a rule. Each row that the rule finds is a
// separate alert, split by alarm, title, subject and runbook. The rule looks for an alarm that the app ends by itself over two days,
// the longest period that Azure allows. It looks for an alarm about one moment over half an hour, longer than logs take to arrive.

param name string
param location string
param tags object
param workspaceId string
param appId string
param hostName string
param storageId string
param insightsId string
param emails string[]
param refusalsTolerated int

type alarm = {
  name: string
  severity: 0 | 1 | 2 | 3
  title: string
  query: string
  @description('The greatest age of the newest record that the query finds.')
  window: string
  @description('The columns by which alerts are split.')
  about: string[]
}

var alarms alarm[] = [
  {
    name: 'message_too_new'
    severity: 2
    title: 'A message of a newer release waits for that release'
    query: loadTextContent('queries/message_too_new.kql')
    window: '30m'
    about: []
  }
  {
    name: 'offer_unreadable'
    severity: 1
    title: 'A stored offer cannot be read, and takes no leads'
    query: loadTextContent('queries/offer_unreadable.kql')
    window: '30m'
    about: []
  }
  {
    name: 'rows_unreadable'
    severity: 1
    title: 'Stored rows cannot be read, and are left out'
    query: loadTextContent('queries/rows_unreadable.kql')
    window: '30m'
    about: ['what']
  }
  {
    name: 'packages_unusable'
    severity: 0
    title: 'The app cannot start: its packages are for another Python'
    query: loadTextContent('queries/packages_unusable.kql')
    window: '30m'
    about: []
  }
  {
    name: 'intake_unavailable'
    severity: 0
    title: 'A sender got 503: leads are being refused'
    query: loadTextContent('queries/intake_unavailable.kql')
    window: '30m'
    about: []
  }
  {
    name: 'body_without_length'
    severity: 1
    title: 'A lead came without a length, and is lost'
    query: loadTextContent('queries/body_without_length.kql')
    window: '30m'
    about: []
  }
  {
    name: 'bodies_empty'
    severity: 2
    title: 'Several requests came without a body'
    query: loadTextContent('queries/bodies_empty.kql')
    window: '2d'
    about: []
  }
  {
    name: 'connection_paused'
    severity: 1
    title: 'A connection is paused: its leads wait'
    query: loadTextContent('queries/connection_paused.kql')
    window: '2d'
    about: ['connection']
  }
  {
    name: 'leads_wait_long'
    severity: 1
    title: 'Leads have waited behind a connection for over an hour'
    query: loadTextContent('queries/leads_wait_long.kql')
    window: '2d'
    about: ['connection']
  }
  {
    name: 'leads_need_a_person'
    severity: 2
    title: 'Leads need a person'
    query: loadTextContent('queries/leads_need_a_person.kql')
    window: '2d'
    about: ['state', 'offer', 'destination']
  }
  {
    name: 'secret_expiring'
    severity: 2
    title: 'A secret expires soon'
    query: loadTextContent('queries/secret_expiring.kql')
    window: '2d'
    about: ['offer', 'destination', 'setting', 'within']
  }
  {
    name: 'offer_over_ceiling'
    severity: 2
    title: 'An offer is over its daily ceiling'
    query: loadTextContent('queries/offer_over_ceiling.kql')
    window: '2d'
    about: ['offer']
  }
  {
    name: 'offer_silent'
    severity: 1
    title: 'An offer has fallen silent'
    query: loadTextContent('queries/offer_silent.kql')
    window: '2d'
    about: ['offer']
  }
  {
    name: 'intake_failed'
    severity: 0
    title: 'The intake answered with 5xx'
    query: loadTextContent('queries/intake_failed.kql')
    window: '30m'
    about: []
  }
  {
    name: 'intake_unread'
    severity: 2
    title: 'Several bodies could not be read: too large, stalled or broken off'
    query: loadTextContent('queries/intake_unread.kql')
    window: '1h'
    about: []
  }
  {
    name: 'oldest_undelivered'
    severity: 1
    title: 'A lead is undelivered for over an hour'
    query: loadTextContent('queries/oldest_undelivered.kql')
    window: '2d'
    about: []
  }
  {
    name: 'app_silent'
    severity: 0
    title: 'The app does not run'
    query: loadTextContent('queries/app_silent.kql')
    window: '15m'
    about: []
  }
]

type severity = {
  severity: 0 | 1 | 2
  title: string
  @description('How often the rule runs. A rule that runs every five minutes costs three times as much.')
  every: 'PT5M' | 'PT15M'
}

var severities severity[] = [
  { severity: 0, title: 'Leads are being lost', every: 'PT5M' }
  { severity: 1, title: 'Leads wait, or may be lost', every: 'PT15M' }
  { severity: 2, title: 'Leads need a person', every: 'PT15M' }
]

// One table with the rows of each query under its alarm's name, after the columns that the query itself names.
var statements = map(alarms, alarm => split(alarm.query, ';\n'))
var named = map(
  range(0, length(alarms)),
  i =>
    '${join(map(take(statements[i], length(statements[i]) - 1), statement => '${statement};\n'), '')}let ${alarms[i].name} =\n${last(statements[i])};\n'
)
var subjects = map(
  alarms,
  alarm => empty(alarm.about) ? '"the app"' : 'strcat(${join(map(alarm.about, c => '"${c} ", ${c}'), ', ", ", ')})'
)
var findings = map(
  range(0, length(alarms)),
  i =>
    '(${alarms[i].name} | where TimeGenerated > ago(${alarms[i].window}) | project TimeGenerated, alarm = "${alarms[i].name}", title = "${alarms[i].title}", about = ${subjects[i]}, runbook = "docs/how-to/on-call.md#${alarms[i].name}")'
)

type metricRule = {
  name: string
  severity: 0 | 1 | 2 | 3
  title: string
  scope: string
  namespace: 'Microsoft.Web/sites' | 'Microsoft.Storage/storageAccounts'
  metric: string
  aggregation: 'Total' | 'Average'
  operator: 'GreaterThan' | 'LessThan'
  threshold: int
}

// Requests that the platform refuses never reach the app: a rotated key, a mistyped address. Only the platform's metrics show them.
// A 5xx is not severe by itself: the host answers 500 if a sender breaks off. intake_failed has the severe ones.
var refusals = [
  { metric: 'Http401', severity: 1, title: 'Requests with a wrong key (401)' }
  { metric: 'Http403', severity: 1, title: 'Requests that were forbidden (403)' }
  { metric: 'Http404', severity: 2, title: 'Requests to an address that is not there (404)' }
  { metric: 'Http5xx', severity: 2, title: 'Requests that failed (5xx)' }
]

var refused metricRule[] = [
  for refusal in refusals: {
    name: refusal.metric
    severity: refusal.severity
    title: refusal.title
    scope: appId
    namespace: 'Microsoft.Web/sites'
    metric: refusal.metric
    aggregation: 'Total'
    operator: 'GreaterThan'
    threshold: refusalsTolerated
  }
]

// Storage counts its failures even if the app does not run. One failed request in ten is far more than retries absorb.
var storageFails metricRule = {
  name: 'StorageAvailability'
  severity: 0
  title: 'Storage fails: leads are being refused'
  scope: storageId
  namespace: 'Microsoft.Storage/storageAccounts'
  metric: 'Availability'
  aggregation: 'Average'
  operator: 'LessThan'
  threshold: 90
}

// A test from outside, so that it fires even if the host and its log are down. Each of three places asks every 15 minutes, and
// two must fail: a single failure is likely that place's own fault.
var places = ['emea-nl-ams-azr', 'us-va-ash-azr', 'apac-sg-sin-azr']

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(emails)) {
  name: name
  location: 'global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: 'leads'
    emailReceivers: [for (email, i) in emails: { name: 'person-${i}', emailAddress: email, useCommonAlertSchema: true }]
  }
}

resource queryRule 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for rule in severities: {
    name: '${name}-severity-${rule.severity}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: rule.title
      description: '${rule.title}. The dimensions of an alert say which alarm it is, what it is about, and where to read what to do.'
      severity: rule.severity
      enabled: true
      scopes: [workspaceId]
      evaluationFrequency: rule.every
      windowSize: 'P2D'
      autoMitigate: true
      // A new workspace without log lines may not know the tables when Azure checks the queries.
      skipQueryValidation: true
      criteria: {
        allOf: [
          {
            query: '${join(filter(named, (_, i) => alarms[i].severity == rule.severity), '')}union ${join(filter(findings, (_, i) => alarms[i].severity == rule.severity), ',\n')}'
            timeAggregation: 'Count'
            operator: 'GreaterThan'
            threshold: 0
            dimensions: [
              for column in ['alarm', 'title', 'about', 'runbook']: { name: column, operator: 'Include', values: ['*'] }
            ]
            failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
          }
        ]
      }
      actions: { actionGroups: empty(emails) ? [] : [people.id] }
    }
  }
]

resource metricAlert 'Microsoft.Insights/metricAlerts@2018-03-01' = [
  for rule in [...refused, storageFails]: {
    name: '${name}-${rule.name}'
    location: 'global'
    tags: tags
    properties: {
      description: '${rule.title}. What to do: docs/how-to/on-call.md#${toLower(rule.name)}.'
      severity: rule.severity
      enabled: true
      scopes: [rule.scope]
      evaluationFrequency: 'PT5M'
      windowSize: 'PT15M'
      autoMitigate: true
      criteria: {
        'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
        allOf: [
          {
            criterionType: 'StaticThresholdCriterion'
            name: rule.metric
            metricNamespace: rule.namespace
            metricName: rule.metric
            timeAggregation: rule.aggregation
            operator: rule.operator
            threshold: rule.threshold
            // An app without requests has no such metric yet.
            skipMetricValidation: true
          }
        ]
      }
      actions: empty(emails) ? [] : [{ actionGroupId: people.id }]
    }
  }
]

resource healthTest 'Microsoft.Insights/webtests@2022-06-15' = {
  name: '${name}-health'
  location: location
  // Application Insights finds its tests by this tag.
  tags: union(tags, { 'hidden-link:${insightsId}': 'Resource' })
  kind: 'standard'
  properties: {
    SyntheticMonitorId: '${name}-health'
    Name: 'Health of the app'
    Kind: 'standard'
    Enabled: true
    Frequency: 900
    Timeout: 30
    RetryEnabled: true
    Locations: [for place in places: { Id: place }]
    Request: {
      RequestUrl: 'https://${hostName}/api/health'
      HttpVerb: 'GET'
      FollowRedirects: false
      ParseDependentRequests: false
    }
    ValidationRules: { ExpectedHttpStatusCode: 200, SSLCheck: true, SSLCertRemainingLifetimeCheck: 7 }
  }
}

resource unreachable 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: '${name}-app_unreachable'
  location: 'global'
  tags: tags
  properties: {
    description: 'The app does not answer. What to do: docs/how-to/on-call.md#app_unreachable.'
    severity: 0
    enabled: true
    scopes: [healthTest.id, insightsId]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    autoMitigate: true
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.WebtestLocationAvailabilityCriteria'
      webTestId: healthTest.id
      componentId: insightsId
      failedLocationCount: 2
    }
    actions: empty(emails) ? [] : [{ actionGroupId: people.id }]
  }
}
