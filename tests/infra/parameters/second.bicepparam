using '../../../infra/main.bicep'

param environmentName = 'prod-2'
param location = 'westeurope'
param privateEndpoints = true
param alertEmails = ['on-call@example.com']
param operatorObjectId = '22222222-2222-2222-2222-222222222222'
