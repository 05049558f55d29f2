"""Tests against the vendor's OpenAPI document, with Prism and schemathesis, by `make test-vendor`.

The document is not part of the project: PORTSIP_V22_OPENAPI is its path.
"""
