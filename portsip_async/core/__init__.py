"""The core: HTTP, tokens, retries, pages. It does not depend on what the API is about."""
