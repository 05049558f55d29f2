"""The core: HTTP, tokens, retries, pages. It knows nothing about extensions or groups."""
