"""Following states through the web socket of generation v22 (``/wsi``)."""
