"""Takes Microsoft marketplace leads over HTTPS and delivers each to its offer's CRM."""
