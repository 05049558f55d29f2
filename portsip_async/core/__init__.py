"""The core: HTTP, tokens, retries, pages. It knows no extension and no group."""
