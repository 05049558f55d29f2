"""Many operations at once, over any generation of the API."""
