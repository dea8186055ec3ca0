// An alert rule for each alarm of the app, and for what the app cannot see: that it is silent, or never asked.
//
// Each query gives a row for what is the matter, so every rule fires on one row or more. An alarm that the app ends by
// itself is looked for over two days, the longest that a rule may look back, by what it is about: a second connection that
// pauses is a second alert. What is about one moment is looked for over half an hour, longer than logs take to arrive.

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

type rule = {
  name: string
  severity: 0 | 1 | 2 | 3
  title: string
  query: string
  @description('How far the query looks back.')
  window: string
  @description('How often it is asked. A rule that is asked every five minutes costs three times as much.')
  every: 'PT5M' | 'PT15M'
  @description('The columns by which one alert is told from another.')
  about: string[]
}

var rules rule[] = [
  {
    name: 'message_too_new'
    severity: 2
    title: 'A message of a newer release waits for that release'
    query: loadTextContent('queries/message_too_new.kql')
    window: 'PT30M'
    every: 'PT15M'
    about: []
  }
  {
    name: 'offer_unreadable'
    severity: 1
    title: 'A stored offer cannot be read, and takes no leads'
    query: loadTextContent('queries/offer_unreadable.kql')
    window: 'PT30M'
    every: 'PT15M'
    about: []
  }
  {
    name: 'rows_unreadable'
    severity: 1
    title: 'Stored rows cannot be read, and are left out'
    query: loadTextContent('queries/rows_unreadable.kql')
    window: 'PT30M'
    every: 'PT15M'
    about: ['what']
  }
  {
    name: 'packages_unusable'
    severity: 0
    title: 'The app cannot start: its packages are for another Python'
    query: loadTextContent('queries/packages_unusable.kql')
    window: 'PT30M'
    every: 'PT15M'
    about: []
  }
  {
    name: 'intake_unavailable'
    severity: 0
    title: 'A sender got 503: leads are being refused'
    query: loadTextContent('queries/intake_unavailable.kql')
    window: 'PT30M'
    every: 'PT5M'
    about: []
  }
  {
    name: 'body_without_length'
    severity: 1
    title: 'A lead came without a length, and is lost'
    query: loadTextContent('queries/body_without_length.kql')
    window: 'PT30M'
    every: 'PT5M'
    about: []
  }
  {
    name: 'bodies_empty'
    severity: 2
    title: 'Several requests came without a body'
    query: loadTextContent('queries/bodies_empty.kql')
    window: 'P2D'
    every: 'PT15M'
    about: []
  }
  {
    name: 'connection_paused'
    severity: 1
    title: 'A connection is paused: its leads wait'
    query: loadTextContent('queries/connection_paused.kql')
    window: 'P2D'
    every: 'PT15M'
    about: ['connection']
  }
  {
    name: 'leads_wait_long'
    severity: 1
    title: 'Leads have waited behind a connection for over an hour'
    query: loadTextContent('queries/leads_wait_long.kql')
    window: 'P2D'
    every: 'PT15M'
    about: ['connection']
  }
  {
    name: 'leads_need_a_person'
    severity: 2
    title: 'Leads need a person'
    query: loadTextContent('queries/leads_need_a_person.kql')
    window: 'P2D'
    every: 'PT15M'
    about: ['state', 'offer', 'destination']
  }
  {
    name: 'secret_expiring'
    severity: 2
    title: 'A secret expires soon'
    query: loadTextContent('queries/secret_expiring.kql')
    window: 'P2D'
    every: 'PT15M'
    about: ['offer', 'destination', 'setting', 'within']
  }
  {
    name: 'offer_over_ceiling'
    severity: 2
    title: 'An offer is over its daily ceiling'
    query: loadTextContent('queries/offer_over_ceiling.kql')
    window: 'P2D'
    every: 'PT15M'
    about: ['offer']
  }
  {
    name: 'offer_silent'
    severity: 1
    title: 'An offer has fallen silent'
    query: loadTextContent('queries/offer_silent.kql')
    window: 'P2D'
    every: 'PT15M'
    about: ['offer']
  }
  {
    name: 'intake_failed'
    severity: 0
    title: 'The intake answered with 5xx'
    query: loadTextContent('queries/intake_failed.kql')
    window: 'PT30M'
    every: 'PT5M'
    about: []
  }
  {
    name: 'intake_unread'
    severity: 2
    title: 'Several bodies could not be read: too large, stalled or broken off'
    query: loadTextContent('queries/intake_unread.kql')
    window: 'PT1H'
    every: 'PT15M'
    about: []
  }
  {
    name: 'oldest_undelivered'
    severity: 1
    title: 'A lead is undelivered for over an hour'
    query: loadTextContent('queries/oldest_undelivered.kql')
    window: 'P2D'
    every: 'PT15M'
    about: []
  }
  {
    name: 'app_silent'
    severity: 0
    title: 'The app does not run'
    query: loadTextContent('queries/app_silent.kql')
    window: 'PT15M'
    every: 'PT5M'
    about: []
  }
]

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

// What the platform refuses never reaches the app, and is shown in its metrics alone: a rotated key, a mistyped address. A
// 5xx is not severe by itself: the host answers 500 where a sender breaks off. The severe ones are intake_failed.
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

// Storage counts its own failures, whether the app still runs or not. One request in ten is far above what retries absorb.
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

// Asked from outside, so that it fires when neither the host nor its log is there. Each place asks every 15 minutes, and two
// of three have to fail: one that fails alone has trouble of its own. An execution costs 0.0005 USD.
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
  for rule in rules: {
    name: '${name}-${rule.name}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: '${rule.title} (${rule.name})'
      description: '${rule.title}. What to do: docs/reference/operations.md, ${rule.name}.'
      severity: rule.severity
      enabled: true
      scopes: [workspaceId]
      evaluationFrequency: rule.every
      windowSize: rule.window
      autoMitigate: true
      // A workspace that has not seen a log line yet may not know the tables; the queries are checked before that.
      skipQueryValidation: true
      criteria: {
        allOf: [
          {
            query: rule.query
            timeAggregation: 'Count'
            operator: 'GreaterThan'
            threshold: 0
            dimensions: [for column in rule.about: { name: column, operator: 'Include', values: ['*'] }]
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
      description: '${rule.title}. What to do: docs/reference/operations.md, ${rule.name}.'
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
            // An app that was not asked yet has no such metric.
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
  // Application Insights finds the tests that belong to it by this tag.
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
    description: 'The app does not answer. What to do: docs/reference/operations.md, app_unreachable.'
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
