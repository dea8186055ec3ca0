"""Stand-ins for vendors' clouds: they behave as the vendor documents, over TLS, on this machine."""
